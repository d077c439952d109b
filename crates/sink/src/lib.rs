//! Where envelopes go: stdout, stderr, null and files.
