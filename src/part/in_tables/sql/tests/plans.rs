//! Tests of the plan and of the SQL that is printed for it.
