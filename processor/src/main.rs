//! `twosec-processor`: see the crate's documentation, or `twosec-processor --help`.

/// musl's own takes a third more time for the whole program, and several times that with many
/// threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    processor::cli::main()
}
