//! The program of `agent`, built here so that tests can run it wherever they run.

fn main() -> std::process::ExitCode {
    agent::cli::main()
}
