//! The terminal.

use oci_spec::runtime::Process;

use crate::sys::tty::Size;

/// A pty for the program, its master for whoever asked.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    pub size: Option<Size>,
    /// Bind it on /dev/console: for a container's first process, not for `exec`.
    pub bind: bool,
}

pub fn build(process: &Process, bind: bool) -> Option<Console> {
    process.terminal().unwrap_or(false).then(|| {
        let side = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
        let size = process
            .console_size()
            .map(|b| Size { width: side(b.width()), height: side(b.height()) })
            .filter(|s| s.width != 0 || s.height != 0);
        Console { size, bind }
    })
}
