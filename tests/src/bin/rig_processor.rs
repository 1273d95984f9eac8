//! The program of `processor`, built here so that tests can run it wherever they run.

fn main() -> std::process::ExitCode {
    processor::cli::main()
}
