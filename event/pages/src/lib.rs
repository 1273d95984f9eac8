//! A program's manual pages and completions for shells, written by the program itself: they say
//! what it really takes, and a package needs nothing but the program.

use clap::Command;
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where shells look below a `share` folder (bash-completion, zsh's `fpath`, fish's
/// "Where to put completions").
const SHELLS: [(Shell, &str, &str, &str); 3] = [
    (Shell::Bash, "bash-completion/completions", "", ""),
    (Shell::Zsh, "zsh/site-functions", "_", ""),
    (Shell::Fish, "fish/vendor_completions.d", "", ".fish"),
];

/// A page or a completion that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`", .path.display())]
pub struct PagesError {
    path: PathBuf,
    #[source]
    cause: io::Error,
}

/// Writes all of them below `share`, as /usr/share has them.
///
/// # Errors
/// The first file that cannot be written.
pub fn write(mut command: Command, share: &Path) -> Result<(), PagesError> {
    let name = command.get_name().to_owned();
    for (shell, folder, before, after) in SHELLS {
        let mut text = Vec::new();
        generate(shell, &mut command, &name, &mut text);
        put(share.join(folder).join(format!("{before}{name}{after}")), &text)?;
    }
    command.build();
    manual(&command, &share.join("man/man1"))
}

fn put(path: PathBuf, text: &[u8]) -> Result<(), PagesError> {
    let folder = path.parent().expect("each file lies in a folder");
    fs::create_dir_all(folder).and_then(|()| fs::write(&path, text)).map_err(|cause| PagesError { path, cause })
}

/// The page of a command, and those of all commands below it. `help` is not worth one.
fn manual(command: &Command, folder: &Path) -> Result<(), PagesError> {
    let shown = |below: &&Command| !below.is_hide_set() && below.get_name() != "help";
    command.get_subcommands().filter(shown).try_for_each(|below| manual(below, folder))?;
    let man = Man::new(command.clone().disable_help_subcommand(true));
    put(folder.join(man.get_filename()), &page(command, &man).expect("memory takes all that is written"))
}

/// As `Man` lays a page out, but for the text behind the help: that holds examples and tables,
/// whose lines must stay as they are.
fn page(command: &Command, man: &Man) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(notes) = command.get_after_help() {
        write!(page, ".SH NOTES\n.nf\n{}.fi\n", verbatim(&notes.to_string()))?;
    }
    Ok(page)
}

/// Text that groff shows as it is (groff_char(7)).
fn verbatim(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        if line.starts_with(['.', '\'']) {
            lines.push_str("\\&");
        }
        for c in line.chars() {
            match c {
                '\\' => lines.push_str("\\e"),
                '-' => lines.push_str("\\-"),
                '\'' => lines.push_str("\\(aq"),
                '`' => lines.push_str("\\(ga"),
                '^' => lines.push_str("\\(ha"),
                '~' => lines.push_str("\\(ti"),
                c => lines.push(c),
            }
        }
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Arg;

    fn command() -> Command {
        let look = Command::new("look").about("Look at it.").after_help("Examples:\n  web look | jq '.a'\n.b");
        Command::new("web").version("1.2.3").about("Does it.").subcommand(look.arg(Arg::new("file").long("file")))
    }

    #[test]
    fn shells_and_man_find_what_was_written() {
        let share = tempfile::tempdir().unwrap();
        write(command(), share.path()).unwrap();
        for (file, holds) in [
            ("bash-completion/completions/web", "--file"),
            ("zsh/site-functions/_web", "#compdef web"),
            ("fish/vendor_completions.d/web.fish", "complete -c web"),
            ("man/man1/web.1", "web \\- Does it."),
            ("man/man1/web-look.1", "\\fBweb look\\fR"),
        ] {
            let text = fs::read_to_string(share.path().join(file)).unwrap();
            assert!(text.contains(holds), "{file}: {text}");
        }
        assert!(!share.path().join("man/man1/web-help.1").exists());
    }

    #[test]
    fn who_may_not_write_is_told_where() {
        let share = tempfile::tempdir().unwrap();
        let file = share.path().join("a-file");
        fs::write(&file, "").unwrap();
        let error = write(command(), &file).unwrap_err();
        let expected = format!("cannot write `{}/bash-completion/completions/web`", file.display());
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn examples_stay_as_they_were_written() {
        let share = tempfile::tempdir().unwrap();
        write(command(), share.path()).unwrap();
        let page = fs::read_to_string(share.path().join("man/man1/web-look.1")).unwrap();
        let notes = page.split(".SH NOTES\n").nth(1).unwrap();
        assert_eq!(notes, ".nf\nExamples:\n  web look | jq \\(aq.a\\(aq\n\\&.b\n.fi\n");
    }
}
