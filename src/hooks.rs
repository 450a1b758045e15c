//! Running one hook.
