//! `twosec`: see the crate's documentation, or `twosec --help`.

fn main() -> std::process::ExitCode {
    solo::cli::main()
}
