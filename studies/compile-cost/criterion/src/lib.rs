//! Nothing: what it costs is what it depends on.
