//! `twosec-agent`: see the crate's documentation, or `twosec-agent --help`.

fn main() -> std::process::ExitCode {
    agent::cli::main()
}
