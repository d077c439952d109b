//! The format of pprof: messages of `profile.proto`, as far as they are used, and what fills them.

use std::collections::HashMap;
use std::io::Write;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

/// A profile that grows by samples.
#[derive(Debug, Default)]
pub(super) struct Profile {
    message: proto::Profile,
    strings: HashMap<String, i64>,
    functions: HashMap<(i64, i64), u64>,
    locations: HashMap<Vec<(u64, i64)>, u64>,
}

/// A function in a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    pub(super) file: String,
    pub(super) line: i64,
}

impl Profile {
    /// An empty one, whose samples have values of these kinds and units.
    pub(super) fn new(values: &[(&str, &str)]) -> Self {
        let mut profile = Self::default();
        // The first string is the empty one.
        profile.string("");
        profile.message.sample_type =
            values.iter().map(|(kind, unit)| profile.value_type(kind, unit)).collect();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        profile.message.time_nanos = nanos(now);
        profile
    }

    /// How long it was collected.
    pub(super) fn lasted(&mut self, time: Duration) {
        self.message.duration_nanos = nanos(time);
    }

    /// One sample stands for so many units.
    pub(super) fn period(&mut self, kind: &str, unit: &str, period: i64) {
        self.message.period_type = Some(self.value_type(kind, unit));
        self.message.period = period;
    }

    /// A sample: for each frame, innermost first, the calls that were inlined there and the one that they are in.
    pub(super) fn sample(
        &mut self,
        frames: &[Vec<Call>],
        values: Vec<i64>,
        labels: &[(&str, &str)],
    ) {
        let location_id = frames.iter().map(|calls| self.location(calls)).collect();
        let label = labels.iter().map(|(key, value)| self.label(key, value)).collect();
        self.message.sample.push(proto::Sample { location_id, value: values, label });
    }

    /// As the file that others read: compressed.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let mut strings: Vec<(i64, String)> =
            self.strings.into_iter().map(|(string, index)| (index, string)).collect();
        strings.sort_unstable();
        self.message.string_table = strings.into_iter().map(|(_, string)| string).collect();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        // A Vec takes every write.
        let _ = encoder.write_all(&self.message.encode_to_vec());
        encoder.finish().unwrap_or_default()
    }

    fn string(&mut self, string: &str) -> i64 {
        if let Some(index) = self.strings.get(string) {
            return *index;
        }
        let index = i64::try_from(self.strings.len()).unwrap_or(i64::MAX);
        self.strings.insert(string.to_owned(), index);
        index
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> proto::ValueType {
        proto::ValueType { r#type: self.string(kind), unit: self.string(unit) }
    }

    fn label(&mut self, key: &str, value: &str) -> proto::Label {
        proto::Label { key: self.string(key), str: self.string(value) }
    }

    fn location(&mut self, calls: &[Call]) -> u64 {
        let lines: Vec<(u64, i64)> =
            calls.iter().map(|call| (self.function(call), call.line)).collect();
        let next = self.locations.len() as u64 + 1;
        *self.locations.entry(lines).or_insert_with_key(|lines| {
            let line = lines
                .iter()
                .map(|(function_id, line)| proto::Line { function_id: *function_id, line: *line });
            self.message.location.push(proto::Location { id: next, line: line.collect() });
            next
        })
    }

    fn function(&mut self, call: &Call) -> u64 {
        let key = (self.string(&call.name), self.string(&call.file));
        let next = self.functions.len() as u64 + 1;
        *self.functions.entry(key).or_insert_with(|| {
            let (name, filename) = key;
            let function = proto::Function { id: next, name, system_name: name, filename };
            self.message.function.push(function);
            next
        })
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// Numbers are those of `profile.proto`.
mod proto {
    use prost::Message;

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Profile {
        #[prost(message, repeated, tag = "1")]
        pub(super) sample_type: Vec<ValueType>,
        #[prost(message, repeated, tag = "2")]
        pub(super) sample: Vec<Sample>,
        #[prost(message, repeated, tag = "4")]
        pub(super) location: Vec<Location>,
        #[prost(message, repeated, tag = "5")]
        pub(super) function: Vec<Function>,
        #[prost(string, repeated, tag = "6")]
        pub(super) string_table: Vec<String>,
        #[prost(int64, tag = "9")]
        pub(super) time_nanos: i64,
        #[prost(int64, tag = "10")]
        pub(super) duration_nanos: i64,
        #[prost(message, optional, tag = "11")]
        pub(super) period_type: Option<ValueType>,
        #[prost(int64, tag = "12")]
        pub(super) period: i64,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Message)]
    pub(super) struct ValueType {
        #[prost(int64, tag = "1")]
        pub(super) r#type: i64,
        #[prost(int64, tag = "2")]
        pub(super) unit: i64,
    }

    #[derive(Clone, PartialEq, Eq, Message)]
    pub(super) struct Sample {
        #[prost(uint64, repeated, tag = "1")]
        pub(super) location_id: Vec<u64>,
        #[prost(int64, repeated, tag = "2")]
        pub(super) value: Vec<i64>,
        #[prost(message, repeated, tag = "3")]
        pub(super) label: Vec<Label>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Message)]
    pub(super) struct Label {
        #[prost(int64, tag = "1")]
        pub(super) key: i64,
        #[prost(int64, tag = "2")]
        pub(super) str: i64,
    }

    #[derive(Clone, PartialEq, Eq, Message)]
    pub(super) struct Location {
        #[prost(uint64, tag = "1")]
        pub(super) id: u64,
        #[prost(message, repeated, tag = "4")]
        pub(super) line: Vec<Line>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Message)]
    pub(super) struct Line {
        #[prost(uint64, tag = "1")]
        pub(super) function_id: u64,
        #[prost(int64, tag = "2")]
        pub(super) line: i64,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Message)]
    pub(super) struct Function {
        #[prost(uint64, tag = "1")]
        pub(super) id: u64,
        #[prost(int64, tag = "2")]
        pub(super) name: i64,
        #[prost(int64, tag = "3")]
        pub(super) system_name: i64,
        #[prost(int64, tag = "4")]
        pub(super) filename: i64,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn call(name: &str) -> Call {
        Call { name: name.into(), file: "f.rs".into(), line: 3 }
    }

    #[test]
    fn a_profile_says_everything_once() {
        let mut profile = Profile::new(&[("samples", "count")]);
        let stack = [vec![call("inlined"), call("inner")], vec![call("outer")]];
        profile.sample(&stack, vec![2], &[("thread", "nl-1")]);
        profile.sample(&stack[1..], vec![1], &[("thread", "nl-1")]);
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(&*profile.finish()).read_to_end(&mut bytes).unwrap();
        let read = proto::Profile::decode(&*bytes).unwrap();
        assert_eq!(read.string_table[0], "");
        assert_eq!((read.location.len(), read.function.len()), (2, 3));
        assert_eq!(read.location[0].line.len(), 2);
        assert_eq!(read.sample[0].location_id, [1, 2]);
        assert_eq!(read.sample[1].location_id, [2]);
        let names: Vec<&str> = read
            .function
            .iter()
            .map(|function| read.string_table[usize::try_from(function.name).unwrap()].as_str())
            .collect();
        assert_eq!(names, ["inlined", "inner", "outer"]);
    }
}
