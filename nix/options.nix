# The options of services.sockeye.settings, made of options.json: every key of the file that `sockeye run` reads.
#
# All are null unless they are set, so that the daemon's own defaults stay the daemon's.
{ lib }:

let
  inherit (lib) mkOption types;

  all = builtins.fromJSON (builtins.readFile ./options.json);

  kinds = {
    boolean = _: types.bool;
    bytes = _: types.either types.ints.positive (types.strMatching "[0-9]+([.][0-9]+)? ?([kKMGTP]i?)?[bB]?");
    duration = _: types.strMatching "([0-9]+ ?[a-z]+ ?)+";
    integer = entry:
      let
        highest = entry.maximum or 9223372036854775807;
        number = types.ints.between entry.minimum highest;
      in
      if entry ? values then types.either (types.enum entry.values) number else number;
    list = _: types.either types.str (types.listOf (types.either types.str types.int));
    one-of = entry: types.enum entry.values;
    # A string, so that nothing is copied into the store, where everybody can read it.
    path = _: types.strMatching "/.*";
    text = _: types.str;
  };

  typeOf = entry:
    let one = kinds.${entry.kind} entry;
    in if entry.repeatable or false then types.either one (types.listOf one) else one;

  option = typeOf: _: entry: mkOption {
    type = types.nullOr (typeOf entry);
    default = null;
    description = entry.description
      + (if entry ? default then "\n\nWhen null, the daemon's default: `${entry.default}`." else "");
  };

  inSink = lib.filterAttrs (_: entry: entry.sink or false) all;
in
{
  # What SIGHUP applies; a change of anything else is a restart.
  live = builtins.filter (key: all.${key}.live or false) (builtins.attrNames all);

  # The keys outside of tables.
  top = builtins.mapAttrs (option typeOf) all;

  # The keys of a table [[sink]]: each has one destination, and repeatable ones are lists there too.
  sink = builtins.mapAttrs (option typeOf) inSink // {
    dest = mkOption {
      type = types.str;
      example = "kafka:broker:9092";
      description = "Where rows of this sink go.";
    };
  };
}
