//! `cgscope run`: the daemon.

use std::{
    io::{self, IsTerminal},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use tokio::signal::unix::Signal;
use tracing_subscriber::EnvFilter;

use super::{
    arguments::RunArguments,
    failure::{Failure, RUNTIME},
    program::Engine,
    signal::{asked_to_end, asked_to_write},
};
use crate::{
    metric::WallTimeNs,
    serve::{
        Backend, Ending, ServeError, Serving, bind, ending,
        intake::{IntakeSocket, serve_intake},
        router,
        runtime_file::Claim,
        serve,
        tape::{Flight, FlightDirectory},
    },
};

/// How long threads that still compute may take after the last answer.
const LAST_WORK: Duration = Duration::from_millis(200);

pub fn run(engine: Engine, arguments: &RunArguments) -> Result<(), Failure> {
    log();
    // In this order: what is cheap to refuse is refused before anything is loaded into the kernel.
    arguments.push.check(&arguments.history)?;
    let mut claim = Claim::take(&arguments.state.state_dir)?;
    let (listener, address) = bind(arguments.listen)?;
    let intake = arguments.intake.options();
    let socket = intake.as_ref().map(|intake| IntakeSocket::bind(&intake.socket)).transpose()?;
    let mut options = arguments.engine.options(arguments.frequency);
    options.history = arguments.history.options(&arguments.state.state_dir);
    options.profiles = arguments.history.profiles(&arguments.state.state_dir);
    options.push = arguments.push.options();
    options.otlp = arguments.push.otlp();
    options.intake = intake;
    if let Some(profiles) = &mut options.profiles {
        profiles.push = arguments.push.profiles();
    }
    options.unwind_cache = Some(arguments.state.cache().join("unwind"));
    options.flight_bytes = arguments.flight.flight_recorder.map(|bytes| bytes as usize);
    let backend = (engine.start)(&options)?;
    let announce = || claim.announce(address).map_err(Failure::from);
    let flights = arguments.flight.directory(&arguments.history, &arguments.state.state_dir);
    let beside =
        Beside { frequency_hz: arguments.frequency, socket, flights: FlightDirectory(flights) };
    let served = serve_until_asked(&backend, (listener, address), beside, announce);
    drop(backend);
    drop(claim);
    served
}

/// What there is besides the engine and its address.
#[derive(Default)]
pub struct Beside {
    /// Samples per second and CPU of recordings that do not say.
    pub frequency_hz: u32,
    /// Where applications post.
    pub socket: Option<IntakeSocket>,
    /// Where a flight recorder is written to.
    pub flights: FlightDirectory,
}

/// Serves until a signal asks it to end. `announce` is called when it can be asked.
pub fn serve_until_asked(
    backend: &Arc<dyn Backend>,
    (listener, address): (TcpListener, SocketAddr),
    beside: Beside,
    announce: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Beside { frequency_hz, socket, flights } = beside;
    let failed =
        |error: io::Error| Failure::new(RUNTIME, format!("cannot start threads: {error}"), "");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("serve")
        .enable_all()
        .build()
        .map_err(failed)?;
    let (sender, ending) = ending();
    let served = runtime.block_on(async {
        let stop = asked_to_end().map_err(failed)?;
        let write = asked_to_write().map_err(failed)?;
        let flight = backend
            .flight_use()
            .map(|used| Flight::start(Arc::clone(backend), ending.clone(), used));
        let serving = Serving { bound: Some(address), frequency_hz, flight: flight.clone() };
        let router = router(Arc::clone(backend), ending.clone(), serving);
        tokio::spawn(write_when_asked(write, flight, flights));
        announce()?;
        tracing::info!("serving http://{address}");
        if !address.ip().is_loopback() {
            tracing::warn!("whoever reaches {address} reads everything: there is no token yet");
        }
        let posts = posts(socket, backend, ending);
        let (served, posts) = tokio::join!(serve(listener, router, sender, stop), posts);
        served.and(posts).map_err(Failure::from)
    });
    runtime.shutdown_timeout(LAST_WORK);
    served
}

/// Writes down what the flight recorder holds at each signal.
async fn write_when_asked(mut signal: Signal, flight: Option<Flight>, directory: FlightDirectory) {
    while signal.recv().await.is_some() {
        let Some(flight) = &flight else {
            tracing::warn!(
                "SIGUSR1: there is no flight recorder; start with --flight-recorder 32M"
            );
            continue;
        };
        let Some(frozen) = flight.frozen().await else { return };
        let directory = directory.clone();
        let write = move || directory.write(&frozen, WallTimeNs::now());
        match tokio::task::spawn_blocking(write).await {
            Ok(Ok(path)) => tracing::info!("the flight recorder is written to {}", path.display()),
            Ok(Err(error)) => {
                tracing::error!("{error}; `cgscope record --flight -o FILE` writes it elsewhere");
            }
            Err(error) => tracing::error!(%error, "the flight recorder could not be written"),
        }
    }
}

/// Takes posts, if there is a socket for them, until the end.
async fn posts(
    socket: Option<IntakeSocket>,
    backend: &Arc<dyn Backend>,
    ending: Ending,
) -> Result<(), ServeError> {
    match (socket, backend.intake()) {
        (Some(socket), Some(intake)) => {
            serve_intake(socket, intake, Arc::clone(backend), ending).await
        }
        _ => Ok(()),
    }
}

/// Messages of the program on stderr.
pub fn log() {
    // What the kernel half may say was chosen when it was loaded, so all that comes is wanted.
    let filter = EnvFilter::try_from_env("CGSCOPE_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,monitor_ebpf=trace"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A logger that is already there is as good.
    let _ = log.with_ansi(io::stderr().is_terminal()).try_init();
}
