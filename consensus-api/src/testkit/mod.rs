//! Conformance suites for implementors of the traits. For tests only.
