//! Writes orlop's man pages (section 8, one a verb) and the completions of bash, zsh and fish: `manual DIRECTORY`.
//!
//! Both come from the command line's own description in `src/cli`, so that they cannot say anything else. What that does
//! not know (files, exit status) is below. `make install` and `hack/package` put the result where it belongs:
//!
//! ```text
//! man/man8/orlop.8  man/man8/orlop-VERB.8
//! bash-completion/completions/orlop  zsh/site-functions/_orlop  fish/vendor_completions.d/orlop.fish
//! ```

use std::io::{Error, Result, Write};
use std::path::Path;

use clap::Command;
use clap_complete::shells;
use clap_mangen::Man;

/// Sections of orlop(8) that the command line has nothing to say about.
const MORE: &str = r#".SH "FILES"
.TP
\fI/run/orlop\fR
State of containers, a directory each; with
.B \-\-root
elsewhere. A user other than root has it in
.IR $XDG_RUNTIME_DIR/orlop .
.TP
\fIconfig.json\fR
The container's configuration, in its bundle: that of the OCI runtime specification 1.3.0.
.B orlop spec
writes one to begin with.
.SH "ENVIRONMENT"
.TP
.B XDG_RUNTIME_DIR
Where a user other than root has the state of containers.
.TP
.BR LISTEN_FDS ", " LISTEN_PID ", " LISTEN_FDNAMES
Sockets that are passed on to the container's program.
.TP
.B NOTIFY_SOCKET
The container's word that it is ready is passed on to it.
.SH "EXIT STATUS"
0 when all was done, 1 after an error of orlop's own; 255 after one of
.BR "orlop exec" .
.B run
and
.B exec
in the foreground end with the program's own status, or with 128 and the number of the signal that ended it.
.PP
An error is one line on standard error: what failed, on what, why, where in
.I config.json
as a JSON pointer, and what to do. With
.B \-\-log
it goes to that file too.
.SH "EXAMPLES"
.EX
# mkdir \-p bundle/rootfs/bin && cp /bin/busybox bundle/rootfs/bin/sh
# orlop spec \-\-bundle bundle
# orlop run \-\-bundle bundle first
.EE
"#;

fn main() -> Result<()> {
    let Some(to) = std::env::args_os().nth(1) else { return Err(Error::other("usage: manual DIRECTORY")) };
    let to = Path::new(&to);
    let mut command = orlop::cli::command().version(env!("CARGO_PKG_VERSION"));
    command.build();

    let pages = to.join("man/man8");
    std::fs::create_dir_all(&pages)?;
    let verbs: Vec<&Command> = command.get_subcommands().filter(|v| !is_hidden(v)).collect();
    std::fs::write(pages.join("orlop.8"), page(&command, "orlop", &verbs)?)?;
    for verb in &verbs {
        let name = format!("orlop-{}", verb.get_name());
        std::fs::write(pages.join(format!("{name}.8")), page(verb, &name, &[])?)?;
    }

    for (dir, shell) in [
        ("bash-completion/completions", shells::Shell::Bash),
        ("zsh/site-functions", shells::Shell::Zsh),
        ("fish/vendor_completions.d", shells::Shell::Fish),
    ] {
        let dir = to.join(dir);
        std::fs::create_dir_all(&dir)?;
        let made = clap_complete::generate_to(shell, &mut command.clone(), "orlop", &dir)?;
        // Debian's bash-completion looks for a file of the command's name.
        if shell == shells::Shell::Bash {
            std::fs::rename(made, dir.join("orlop"))?;
        }
    }
    Ok(())
}

/// `help` is clap's own, and `--help` says the same.
fn is_hidden(verb: &Command) -> bool {
    verb.is_hide_set() || verb.get_name() == "help"
}

fn page(command: &Command, name: &str, verbs: &[&Command]) -> Result<Vec<u8>> {
    let usage = name.replacen('-', " ", 1);
    let man =
        Man::new(command.clone().display_name(name.to_owned()).bin_name(usage).disable_help_subcommand(true))
            .title(name.to_uppercase())
            .section("8")
            .date("")
            .source(format!("orlop {}", env!("CARGO_PKG_VERSION")))
            .manual("Container runtimes");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if verbs.is_empty() {
        writeln!(out, ".SH \"SEE ALSO\"\n.BR orlop (8)")?;
    } else {
        writeln!(out, ".SH \"VERBS\"")?;
        for verb in verbs {
            let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
            writeln!(out, ".TP\n\\fBorlop\\-{}\\fR(8)\n{about}", verb.get_name())?;
        }
        out.write_all(MORE.as_bytes())?;
        let all: Vec<_> = verbs.iter().map(|v| format!(".BR orlop\\-{} (8)", v.get_name())).collect();
        writeln!(out, ".SH \"SEE ALSO\"\n{}", all.join(",\n"))?;
    }
    Ok(out)
}
