# As much of nixpkgs' lib as our modules use, so that they can be evaluated where there is no nixpkgs.
#
# It is no copy: the module system in small, with the same results for what is here. Where <nixpkgs/lib> is to be had, the
# tests use that one.
let
  inherit (builtins) all any attrNames concatLists concatMap concatStringsSep elem filter foldl' head isAttrs isBool
    isFunction isInt isList isPath isString length listToAttrs mapAttrs match;

  typeOf = value: if isAttrs value then value._type or "" else "";
  unique = foldl' (done: name: if elem name done then done else done ++ [ name ]) [ ];
  at = concatStringsSep ".";

  # Conditions and priorities go down to the options, so that names are known before values are.
  pushDown = definition: {
    merge = concatMap pushDown definition.contents;
    "if" = map (mapAttrs (_: lib.mkIf definition.condition)) (pushDown definition.content);
    override = map (mapAttrs (_: lib.mkOverride definition.priority)) (pushDown definition.content);
  }.${typeOf definition} or [ definition ];

  # What is really said of one option: values with priorities.
  said = definition: {
    merge = concatMap said definition.contents;
    "if" = if definition.condition then said definition.content else [ ];
    override = map (one: one // { inherit (definition) priority; }) (said definition.content);
  }.${typeOf definition} or [{ priority = 100; value = definition; }];

  strongest = values:
    let first = foldl' (least: one: if one.priority < least then one.priority else least) 9999 values;
    in map (one: one.value) (filter (one: one.priority == first) values);

  mergeOption = location: type: definitions:
    let
      values = strongest (concatMap said definitions);
      wrong = filter (value: !(type.check value)) values;
    in
    if wrong != [ ]
    then throw "A definition for option `${at location}' is not of type `${type.name}': ${builtins.toJSON (head wrong)}"
    else type.merge location values;

  evalOption = location: option: definitions:
    if concatMap said definitions != [ ] || option ? default
    # A default is a definition as well, the weakest.
    then mergeOption location option.type (definitions ++ (if option ? default then [ (lib.mkOverride 1500 option.default) ] else [ ]))
    else throw "The option `${at location}' was accessed but has no value defined.";

  evalTree = location: tree: definitions:
    let
      sets = concatMap pushDown definitions;
      unknown = filter (name: !(tree ? ${name})) (concatMap attrNames sets);
      of = name: concatMap (set: if set ? ${name} then [ set.${name} ] else [ ]) sets;
      eval = name: entry:
        (if typeOf entry == "option" then evalOption else evalTree) (location ++ [ name ]) entry (of name);
    in
    if unknown != [ ] then throw "The option `${at (location ++ [ (head unknown) ])}' does not exist."
    else mapAttrs eval tree;

  joinTrees = foldl'
    (one: other: one // mapAttrs
      (name: entry: if one ? ${name} && typeOf entry != "option" then joinTrees [ one.${name} entry ] else entry)
      other)
    { };

  load = arguments: module:
    let
      read = if isPath module || isString module then import module else module;
      plain = if isFunction read then read arguments else read;
      long = plain ? options || plain ? config || plain ? imports;
    in
    [{
      options = plain.options or { };
      config = if long then plain.config or { } else plain;
    }] ++ concatMap (load arguments) (plain.imports or [ ]);

  simple = name: check: {
    inherit name check;
    merge = location: values:
      if all (value: value == head values) values then head values
      else throw "The option `${at location}' has conflicting definition values.";
  };

  lib = {
    evalModules = { modules, specialArgs ? { }, prefix ? [ ] }:
      let
        arguments = { inherit config lib; options = tree; } // specialArgs;
        loaded = concatMap (load arguments) modules;
        tree = joinTrees (map (module: module.options) loaded);
        config = evalTree prefix tree (map (module: module.config) loaded);
      in
      { inherit config; options = tree; };

    mkOption = option: option // { _type = "option"; };
    mkEnableOption = what: lib.mkOption { type = lib.types.bool; default = false; description = "Whether to enable ${what}."; };
    mkIf = condition: content: { _type = "if"; inherit condition content; };
    mkMerge = contents: { _type = "merge"; inherit contents; };
    mkOverride = priority: content: { _type = "override"; inherit priority content; };
    mkDefault = lib.mkOverride 1000;
    mkForce = lib.mkOverride 50;
    literalExpression = text: { _type = "literalExpression"; inherit text; };

    filterAttrs = keep: set:
      listToAttrs (map (name: { inherit name; value = set.${name}; }) (filter (name: keep name set.${name}) (attrNames set)));
    genAttrs = names: value: listToAttrs (map (name: { inherit name; value = value name; }) names);
    hasPrefix = prefix: text: builtins.substring 0 (builtins.stringLength prefix) text == prefix;
    imap1 = f: list: builtins.genList (index: f (index + 1) (builtins.elemAt list index)) (length list);
    optionalAttrs = condition: set: if condition then set else { };
    toList = value: if isList value then value else [ value ];

    types = {
      anything = {
        name = "anything";
        check = _: true;
        merge = location: values:
          if all isAttrs values && !(any (value: value ? type) values) then (lib.types.attrsOf lib.types.anything).merge location values
          else if all isList values then concatLists values
          else (simple "anything" (_: true)).merge location values;
      };
      bool = simple "boolean" isBool;
      int = simple "signed integer" isInt;
      str = simple "string" isString;
      strMatching = pattern: simple "string matching the pattern ${pattern}" (value: isString value && match pattern value != null);
      enum = values: simple "one of ${builtins.toJSON values}" (value: elem value values);
      ints = {
        between = least: most: simple "integer between ${toString least} and ${toString most}" (value: isInt value && least <= value && value <= most);
        positive = simple "positive integer" (value: isInt value && value > 0);
      };
      lines = simple "strings concatenated with newlines" isString // { merge = _: concatStringsSep "\n"; };
      package = simple "package" (value: isAttrs value && value ? outPath);
      nullOr = type: {
        name = "null or ${type.name}";
        check = value: value == null || type.check value;
        merge = location: values: if all (value: value == null) values then null else type.merge location values;
      };
      either = one: other: {
        name = "${one.name} or ${other.name}";
        check = value: one.check value || other.check value;
        merge = location: values: (if all one.check values then one else other).merge location values;
      };
      listOf = type: {
        name = "list of ${type.name}";
        check = value: isList value && all type.check value;
        merge = location: values: map (value: mergeOption location type [ value ]) (concatLists values);
      };
      attrsOf = type: {
        name = "attribute set of ${type.name}";
        check = isAttrs;
        merge = location: values:
          let
            sets = concatMap pushDown values;
            of = name: concatMap (set: if set ? ${name} then [ set.${name} ] else [ ]) sets;
            isSaid = name: concatMap said (of name) != [ ];
          in
          lib.genAttrs (filter isSaid (unique (concatMap attrNames sets)))
            (name: mergeOption (location ++ [ name ]) type (of name));
      };
      submodule = module: {
        name = "submodule";
        check = value: isAttrs value || isFunction value;
        merge = location: values: (lib.evalModules { modules = [ module ] ++ values; prefix = location; }).config;
      };
    };
  };
in
lib
