//! Frames of the handshake, to both ends. The other side of main's is a process that will be the container.

use std::os::fd::OwnedFd;
use std::time::Duration;

use orlop::handshake::{Line, Main, Patience};
use orlop::sys::process::Deadline;
use orlop::sys::socket;

use super::judged;

/// Frames, each led by its length; the first byte tells for whom they are.
pub fn run(data: &[u8]) {
    let Some((who, mut rest)) = data.split_first() else { return };
    let (ours, theirs) = socket::pair().expect("a pair of sockets");
    for _ in 0..8 {
        let Some((length, more)) = rest.split_first_chunk::<2>() else { break };
        let (frame, more) = more.split_at(usize::from(u16::from_le_bytes(*length)).min(more.len()));
        if frame.is_empty() || socket::send(&theirs, frame, None).is_err() {
            break;
        }
        rest = more;
    }
    drop(theirs);
    match who % 4 {
        0 => main(ours),
        1 => {
            judged(Line::over(ours).born().wait_for_go().map(|_| ()));
        }
        2 => {
            let line = Line::over(ours);
            if let Some((mapped, ..)) = judged(line.born().wait_for_go()) {
                judged(mapped.mounted().map(|_| ()));
            }
        }
        _ => {
            let line = Line::over(ours);
            let joining = line.joining();
            judged(joining.filter());
            judged(joining.ready(None));
        }
    }
}

fn main(ours: OwnedFd) {
    let mut main = Main::over(ours);
    for _ in 0..9 {
        let patience = Patience { deadline: Deadline::after(Duration::from_secs(5)), look: &|| Ok(()) };
        let heard = main.hear("being fuzzed", patience, |_| Ok(()));
        match heard {
            Ok(orlop::handshake::Answer::Gone) => return,
            Ok(_) => {}
            // What a child says of its failure is passed on, whatever it holds.
            Err(_) => return,
        }
    }
}
