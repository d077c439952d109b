//! Names of functions as they are read best: without what the compiler needs to tell them apart.

/// The name of a function in this file.
///
/// Of an inlined function, line tables know the last part of the name alone; then the file says where it belongs. `go tool pprof`
/// cuts what stands between angle brackets, so that little would be left of a method of a trait.
pub(super) fn readable(name: &str, file: &str) -> String {
    let name = without_types(name);
    if name.contains("::") {
        return name;
    }
    match module_of(file) {
        Some(module) => format!("{module}::{name}"),
        None => name,
    }
}

/// `<a::B<C> as d::E>::f::<G>` is `a::B::f`.
fn without_types(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    if let Some(inside) = name.strip_prefix('<')
        && let Some(end) = closing(inside)
    {
        let (qualified, behind) = inside.split_at(end);
        let kind = qualified.split(" as ").next().unwrap_or_default();
        if kind.starts_with(|char: char| char.is_ascii_alphabetic()) {
            out.push_str(&without_types(kind));
            rest = behind.strip_prefix('>').unwrap_or_default();
        }
    }
    let (mut depth, mut before) = (0u32, ' ');
    for char in rest.chars() {
        // The head of an arrow closes nothing.
        let is_arrow = std::mem::replace(&mut before, char) == '-';
        match char {
            '<' => {
                if depth == 0 && out.ends_with("::") {
                    out.truncate(out.len() - 2);
                }
                depth += 1;
            }
            '>' if depth > 0 && !is_arrow => depth -= 1,
            char if depth == 0 => out.push(char),
            _ => {}
        }
    }
    if out.is_empty() { name.to_owned() } else { out }
}

/// Where the bracket closes that was opened before.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1u32;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'<' => depth += 1,
            b'>' if !text.get(..at).is_some_and(|before| before.ends_with('-')) => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// `…crates/source/src/sockdiag/dump.rs` is `sockeye_source::sockdiag::dump`.
fn module_of(file: &str) -> Option<String> {
    let (_, inside) = file.rsplit_once("crates/")?;
    let (package, path) = inside.split_once("/src/")?;
    let path = path.strip_suffix(".rs")?;
    let mut module =
        if package == "sockeye" { package.to_owned() } else { format!("sockeye_{package}") };
    for part in path.split('/').filter(|part| !matches!(*part, "lib" | "main" | "mod")) {
        module.push_str("::");
        module.push_str(part);
    }
    Some(module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_neither_types_nor_traits_and_inlined_ones_have_a_module() {
        for (name, file, read) in [
            ("sockeye_pipeline::queue::Queue::take", "", "sockeye_pipeline::queue::Queue::take"),
            (
                "<sockeye_sink::null::Null as sockeye_pipeline::sink::Sink>::send",
                "",
                "sockeye_sink::null::Null::send",
            ),
            ("<alloc::vec::Vec<T,A> as core::ops::Drop>::drop", "", "alloc::vec::Vec::drop"),
            (
                "core::ops::function::FnOnce::call_once{{vtable.shim}}",
                "",
                "core::ops::function::FnOnce::call_once{{vtable.shim}}",
            ),
            ("a::f::<core::fn() -> u8, B<C>>::g", "", "a::f::g"),
            ("<&mut F as core::Fn>::call", "", "::call"),
            (
                "put_known",
                "/x/crates/record/src/format/mod.rs",
                "sockeye_record::format::put_known",
            ),
            ("run", "crates/sockeye/src/commands/run.rs", "sockeye::commands::run::run"),
            ("memcpy", "../sysdeps/memcpy.S", "memcpy"),
            ("push<sockeye_source::Held>", "crates/source/src/lib.rs", "sockeye_source::push"),
        ] {
            assert_eq!(readable(name, file), read);
        }
    }
}
