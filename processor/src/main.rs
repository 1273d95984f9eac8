//! `twosec-processor`: see the crate's documentation, or `twosec-processor --help`.

fn main() -> std::process::ExitCode {
    processor::cli::main()
}
