# A file for --config from settings; what is null is left out.
#
# JSON's strings, numbers and booleans are TOML's as well, but for the control character 127, which no option takes.
let
  set = settings: builtins.filter (key: settings.${key} != null) (builtins.attrNames settings);
  line = settings: key: "${key} = ${builtins.toJSON settings.${key}}\n";
  lines = settings: builtins.concatStringsSep "" (map (line settings) (set settings));
in
settings:
lines (removeAttrs settings [ "sink" ])
  + builtins.concatStringsSep "" (map (sink: "\n[[sink]]\n" + lines sink) (settings.sink or [ ]))
