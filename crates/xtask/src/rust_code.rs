//! Rust source without what is not code: comments, strings and characters are taken out, line breaks stay.

/// The code of a source file. What was taken out leaves a space, so that words do not grow together.
pub(crate) fn code_of(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skipped = not_code(rest, first);
        if skipped == 0 {
            // A whole word at a time: the `r` of `for"` begins no raw string.
            let word = word_length(rest).max(first.len_utf8());
            let (word, after) = rest.split_at(word);
            code.push_str(word);
            rest = after;
        } else {
            let (text, after) = rest.split_at(skipped);
            code.push(' ');
            code.extend(text.chars().filter(|character| *character == '\n'));
            rest = after;
        }
    }
    code
}

/// The lines, from 1, in which `word` stands as a word of its own.
pub(crate) fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let has_word =
        |line: &str| line.split(|character| !is_word(character)).any(|found| found == word);
    code.lines().zip(1..).filter(|(line, _)| has_word(line)).map(|(_, number)| number).collect()
}

/// The length of what is at the start of `rest` and is no code; 0 where there is code.
fn not_code(rest: &str, first: char) -> usize {
    match first {
        '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
        '/' if rest.starts_with("/*") => block_comment(rest),
        '"' => string(rest),
        '\'' => character(rest),
        'r' | 'b' | 'c' => {
            let prefix = word_length(rest);
            let (prefix, after) = rest.split_at(prefix);
            let inner = match prefix {
                "r" | "br" | "cr" => raw_string(after),
                "b" | "c" if after.starts_with('"') => string(after),
                "b" => character(after),
                _ => 0,
            };
            if inner == 0 { 0 } else { prefix.len() + inner }
        }
        _ => 0,
    }
}

fn word_length(rest: &str) -> usize {
    rest.find(|character| !is_word(character)).unwrap_or(rest.len())
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_u32, 0);
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// From one quote to the other, both included.
fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// What follows the prefix of a raw string; 0 when it is none (`r#loop`, or a variable called `r`).
fn raw_string(rest: &str) -> usize {
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let Some(text) = rest.get(hashes..).and_then(|rest| rest.strip_prefix('"')) else { return 0 };
    let end = format!("\"{}", "#".repeat(hashes));
    text.find(&end).map_or(rest.len(), |at| hashes + 1 + at + end.len())
}

/// A character with its quotes; 0 when the quote begins a lifetime or a label.
fn character(rest: &str) -> usize {
    let mut characters = rest.char_indices();
    if characters.next().map(|(_, quote)| quote) != Some('\'') {
        return 0;
    }
    let Some((_, first)) = characters.next() else { return 0 };
    if first == '\\' {
        // What is escaped may be a quote itself.
        characters.next();
        return characters
            .find(|(_, character)| *character == '\'')
            .map_or(rest.len(), |(at, _)| at + 1);
    }
    match characters.next() {
        Some((at, '\'')) => at + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_code_is_taken_out_and_lines_stay() {
        for (source, expected) in [
            ("a // unsafe\nb", "a  \nb"),
            ("a /* un /* nested */ safe\n */ b", "a  \n b"),
            (r#"f("unsafe \" unsafe", x)"#, "f( , x)"),
            (r##"f(r#"unsafe " unsafe"#, br"\", c"x", b"y", x)"##, "f( ,  ,  ,  , x)"),
            (
                r"match c { '\'' => 1, '\u{1f}' => 2, '\\' => 3, b'x' => 4 }",
                "match c {   => 1,   => 2,   => 3,   => 4 }",
            ),
            (
                "fn f<'a>(x: &'a str) { 'outer: loop {} }",
                "fn f<'a>(x: &'a str) { 'outer: loop {} }",
            ),
            ("r#loop + r * for_b(b, c)", "r#loop + r * for_b(b, c)"),
            ("'é', \"é\" é", " ,   é"),
            ("\"open", " "),
            ("/* open", " "),
            ("'", "'"),
        ] {
            assert_eq!(code_of(source), expected, "{source}");
        }
    }

    #[test]
    fn a_word_is_found_only_as_a_whole() {
        let code = "unsafe_code\nunsafe{x}\nmy_unsafe\n(unsafe fn())\n";
        assert_eq!(lines_with(code, "unsafe"), [2, 4]);
    }
}
