//! The program of `solo`, built here so that tests can run it wherever they run.

fn main() -> std::process::ExitCode {
    solo::cli::main()
}
