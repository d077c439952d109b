# A systemd unit as an attribute set: unit.Service.Type is a string, and what is there several times a list.
file:

let
  lines = builtins.filter builtins.isString (builtins.split "\n" (builtins.readFile file));
  # A line that ends with a backslash goes on in the next one.
  joined = builtins.foldl'
    (done: line:
      let
        whole = done.open + line;
        open = builtins.match "(.*)\\\\" whole;
      in
      if open == null then { lines = done.lines ++ [ whole ]; open = ""; }
      else { inherit (done) lines; open = builtins.head open + " "; })
    { lines = [ ]; open = ""; }
    lines;
  add = unit: key: value:
    if unit ? ${key}
    then (if builtins.isList unit.${key} then unit.${key} else [ unit.${key} ]) ++ [ value ]
    else value;
  read = state: line:
    let
      section = builtins.match "\\[([A-Za-z]+)][ \t]*" line;
      pair = builtins.match "([A-Za-z0-9]+)[ \t]*=[ \t]*(.*)" line;
      key = builtins.elemAt pair 0;
      within = state.unit.${state.section} or { };
    in
    if section != null then state // { section = builtins.head section; }
    else if pair == null then state
    else state // {
      unit = state.unit // {
        ${state.section} = within // { ${key} = add within key (builtins.elemAt pair 1); };
      };
    };
in
(builtins.foldl' read { section = ""; unit = { }; } joined.lines).unit
