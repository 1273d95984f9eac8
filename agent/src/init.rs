//! `twosec-agent init`: a configuration to begin with.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The configuration with a comment for each setting. It is made from the comments in
/// `settings.rs`; `TWOSEC_WRITE=1 cargo test -p agent init` writes it anew.
pub const CONFIG: &str = include_str!("agent.toml");

/// Why the configuration was not written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("`{}` is there already: give --force to overwrite it, or `--config -` to read the new one", .path.display())]
    Exists { path: PathBuf },
    #[error("cannot write the configuration `{}`", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
}

/// Writes the configuration to `path`, and the folder for it where that is missing.
/// What is there already stays, unless `force`.
pub fn write(path: &Path, force: bool) -> Result<(), InitError> {
    let failed = |cause| InitError::Write { path: path.to_owned(), cause };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut open = OpenOptions::new();
    if force {
        open.create(true).truncate(true)
    } else {
        open.create_new(true)
    };
    let mut file = open.write(true).open(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => InitError::Exists { path: path.to_owned() },
        _ => failed(cause),
    })?;
    file.write_all(CONFIG.as_bytes()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Config;
    use std::fmt::Write as _;
    use toml::{Table, Value};

    const SETTINGS: &str = include_str!("settings.rs");

    /// What an operator must write; all else has a default.
    const REQUIRED: &str = r#"
        [stream]
        name = "twosec"
        [[file]]
        path = "/var/log/apache2/*access.log"
    "#;

    /// Examples for settings that have no default.
    const EXAMPLES: &str = r#"
        host_id = "web-1"
        [stream]
        log_stream = "web-1"
        [[file]]
        format_from = "/etc/apache2/apache2.conf"
        timezone = "Europe/Berlin"
        container_dir = "/var/log/apache2"
        olddir = "/var/log/apache2/old"
        [enrich]
        networks = "/etc/twosec/networks.txt"
        [metrics]
        prometheus = "127.0.0.1:9464"
        cloudwatch_namespace = "2SeC"
    "#;

    /// A struct of `settings.rs`, as far as its text says.
    #[derive(Clone)]
    struct Struct<'a> {
        name: &'a str,
        fields: Vec<Field<'a>>,
    }

    #[derive(Clone)]
    struct Field<'a> {
        docs: Vec<&'a str>,
        name: &'a str,
        kind: &'a str,
    }

    /// The structs with public fields, in the order in which they stand.
    fn structs(source: &str) -> Vec<Struct<'_>> {
        let mut all: Vec<Struct<'_>> = Vec::new();
        let mut docs = Vec::new();
        for line in source.lines() {
            let text = line.trim();
            if let Some(doc) = text.strip_prefix("///") {
                docs.push(doc.strip_prefix(' ').unwrap_or(doc));
            } else if let Some(name) = text.strip_prefix("pub struct ").and_then(|rest| rest.strip_suffix(" {")) {
                docs.clear();
                all.push(Struct { name, fields: Vec::new() });
            } else if let Some((name, kind)) = field(line) {
                let docs = std::mem::take(&mut docs);
                all.last_mut().expect("a field stands in a struct").fields.push(Field { docs, name, kind });
            } else if !text.starts_with("#[") {
                docs.clear();
            }
        }
        all
    }

    fn field(line: &str) -> Option<(&str, &str)> {
        line.strip_prefix("    pub ")?.strip_suffix(',')?.split_once(": ")
    }

    /// Writes the configuration from what the structs say.
    struct Generator<'a> {
        structs: Vec<Struct<'a>>,
        text: String,
    }

    impl Generator<'_> {
        /// Writes one table: its plain settings, then the tables in it.
        ///
        /// `required`, `defaults` and `examples` are what is known of this table.
        fn table(&mut self, name: &str, path: &str, required: &Table, defaults: &Table, examples: &Table) {
            let table = self.structs.iter().position(|s| s.name == name).expect("the struct is there");
            let table = self.structs[table].clone();
            for key in defaults.keys() {
                let told = table.fields.iter().any(|field| field.name == key);
                assert!(told, "`{key}` of `{name}` was not found: a field stands on one line, `    pub name: Type,`");
            }
            let (tables, plain): (Vec<_>, Vec<_>) = table.fields.iter().partition(|f| self.struct_of(f).is_some());
            for field in plain {
                self.comment(field);
                let known = [required, defaults, examples].into_iter().find_map(|table| table.get(field.name));
                let value = known.unwrap_or_else(|| {
                    panic!("`{}` of `{name}` has no default: put an example into EXAMPLES", field.name)
                });
                let off = if required.contains_key(field.name) { "" } else { "# " };
                let _ = writeln!(self.text, "{off}{} = {value}", field.name);
            }
            for field in tables {
                let path = if path.is_empty() { field.name.to_owned() } else { format!("{path}.{}", field.name) };
                self.text.push('\n');
                self.comment(field);
                let header = if field.kind.contains("Vec<") { format!("[[{path}]]") } else { format!("[{path}]") };
                let _ = writeln!(self.text, "{header}");
                let [required, defaults, examples] =
                    [required, defaults, examples].map(|table| inner(table, field.name));
                let name = self.struct_of(field).expect("it is one of the tables");
                self.table(&name, &path, &required, &defaults, &examples);
            }
        }

        fn comment(&mut self, field: &Field<'_>) {
            let above = self.text.lines().last().unwrap_or_default();
            if !(field.docs.is_empty() || above.is_empty() || above.starts_with('[')) {
                self.text.push('\n');
            }
            for doc in &field.docs {
                let _ = writeln!(self.text, "{}", format!("# {doc}").replace("[`", "`").replace("`]", "`").trim_end());
            }
        }

        /// The name of the struct that the field holds, once or many times.
        fn struct_of(&self, field: &Field<'_>) -> Option<String> {
            let inner = field.kind.trim_start_matches("Option<").trim_start_matches("Vec<").trim_end_matches('>');
            inner.ends_with("Config").then(|| inner.to_owned())
        }
    }

    /// The table `name` in `table`; of a list of tables, the first.
    fn inner(table: &Table, name: &str) -> Table {
        match table.get(name) {
            Some(Value::Table(inner)) => inner.clone(),
            Some(Value::Array(list)) => list.first().and_then(Value::as_table).cloned().unwrap_or_default(),
            _ => Table::new(),
        }
    }

    fn generated() -> String {
        let required: Table = toml::from_str(REQUIRED).unwrap();
        let config: Config = toml::from_str(REQUIRED).unwrap();
        let defaults = Table::try_from(&config).unwrap();
        let examples: Table = toml::from_str(EXAMPLES).unwrap();
        let text = "\
# The configuration of twosec-agent.
#
# What begins with `# name =` shows a default, or an example of a setting that is
# absent by default. After a change: `twosec-agent check`.
"
        .to_owned();
        let mut generator = Generator { structs: structs(SETTINGS), text };
        generator.table("Config", "", &required, &defaults, &examples);
        generator.text
    }

    #[test]
    fn the_written_configuration_says_what_the_settings_say() {
        let generated = generated();
        if std::env::var_os("TWOSEC_WRITE").is_some() {
            fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/agent.toml"), &generated).unwrap();
        } else {
            assert_eq!(CONFIG, generated, "TWOSEC_WRITE=1 cargo test -p agent init writes `agent/src/agent.toml` anew");
        }
    }

    #[test]
    fn the_written_configuration_is_the_one_with_all_defaults() {
        let written: Config = toml::from_str(CONFIG).unwrap();
        assert_eq!(written, toml::from_str(REQUIRED).unwrap());
    }

    #[test]
    fn each_line_that_is_commented_out_may_be_used() {
        let used: Vec<_> = CONFIG.lines().map(|line| commented_out(line).unwrap_or(line)).collect();
        let config: Config = toml::from_str(&used.join("\n")).unwrap();
        assert_eq!(config.host_id.as_deref(), Some("web-1"));
        assert_eq!(config.stream.linger_ms, 100);
    }

    /// `# name = value` without its `# `.
    fn commented_out(line: &str) -> Option<&str> {
        let setting = line.strip_prefix("# ")?;
        let (name, _) = setting.split_once(" = ")?;
        name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_').then_some(setting)
    }

    #[test]
    fn what_is_there_already_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etc/twosec/agent.toml");
        write(&path, false).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), CONFIG);
        fs::write(&path, "mine").unwrap();
        let refused = write(&path, false).unwrap_err().to_string();
        let expected = format!(
            "`{}` is there already: give --force to overwrite it, or `--config -` to read the new one",
            path.display()
        );
        assert_eq!(refused, expected);
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        write(&path, true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), CONFIG);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        let path = folder.path().join("file/agent.toml");
        let refused = write(&path, true).unwrap_err().to_string();
        assert_eq!(refused, format!("cannot write the configuration `{}`", path.display()));
    }
}
