//! A small load generator.
