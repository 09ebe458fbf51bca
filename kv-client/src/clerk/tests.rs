//! The ledger, rule by rule.
