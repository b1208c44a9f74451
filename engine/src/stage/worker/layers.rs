//! How does the worker come to hold its layers?

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{Loaded, Route, Worker, WorkerEvent};
use crate::{
    layers::LayerRange,
    scheduler::times::StepTimes,
    stage::Stage,
    weights::{ModelFolder, Precision},
};

impl Worker {
    pub(super) fn load(
        &mut self,
        epoch: u64,
        folder: &ModelFolder,
        range: LayerRange,
        precision: Precision,
        route: Route,
    ) {
        self.unload();
        let events = self.events.clone();
        let told = std::cell::Cell::new(Instant::now());
        let progress = move |bytes_read| {
            if told.get().elapsed() > Duration::from_millis(200) {
                told.set(Instant::now());
                let _ = events.try_send(WorkerEvent::Loading { epoch, bytes_read });
            }
        };
        let result = Stage::load(folder, range, precision, &progress);
        let result = result.map_err(|error| error.to_string());
        let result = result.and_then(|stage| {
            if let Some(before) = &route.before {
                self.post_receives(before)?;
            }
            let bytes_read = stage.bytes_read();
            self.loaded = Some(Loaded {
                epoch,
                stage,
                route,
                open: HashMap::new(),
                times: StepTimes::default(),
                times_told: Instant::now(),
            });
            Ok(bytes_read)
        });
        self.report(WorkerEvent::Loaded { epoch, result });
    }

    pub(super) fn unload(&mut self) {
        self.loaded = None;
        // MLX keeps freed buffers for reuse: a new model has other sizes.
        let _ = mlx_rs::memory::clear_cache();
    }
}
