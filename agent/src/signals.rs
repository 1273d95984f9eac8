//! SIGINT and SIGTERM: the first asks politely. SIGHUP: new settings.

use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The exit code of a process that was told twice, as a shell would report SIGINT.
const INTERRUPTED: i32 = 130;

/// A token that the first SIGINT or SIGTERM cancels. The second one ends the process:
/// what is under way then is read again next time.
pub fn stop_on_signals() -> io::Result<CancellationToken> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if again {
                std::process::exit(INTERRUPTED);
            }
            told.cancel();
        }
    });
    Ok(stop)
}

/// Hears SIGHUP. Signals that come while one waits to be received are that one: the
/// settings are read after the last of them. It also keeps a SIGHUP from ending the
/// process, from the call on.
pub fn reloads() -> io::Result<mpsc::Receiver<()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (heard, reloads) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some(()) = hangup.recv() => drop(heard.try_send(())),
                () = heard.closed() => return,
            }
        }
    });
    Ok(reloads)
}

/// What `work` comes to; `None` if it has not ended `grace` after `stop`.
pub async fn within_grace<T>(work: impl Future<Output = T>, stop: CancellationToken, grace: Duration) -> Option<T> {
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        ended = work => Some(ended),
        () = late => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn signals_that_nobody_has_taken_yet_are_one_reload() {
        let mut reloads = reloads().unwrap();
        for _ in 0..3 {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(reloads.recv().await, Some(()));
        assert_eq!(reloads.try_recv(), Err(mpsc::error::TryRecvError::Empty));
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_does_not_end_is_left_after_the_grace_time() {
        let (stop, grace) = (CancellationToken::new(), Duration::from_secs(20));
        assert_eq!(within_grace(async { 7 }, stop.clone(), grace).await, Some(7));
        stop.cancel();
        assert_eq!(within_grace(std::future::pending::<()>(), stop, grace).await, None);
    }
}
