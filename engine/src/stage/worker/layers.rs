//! How does the worker come to hold its layers, and those that it is to hold next?

use std::{
    cell::Cell,
    collections::HashMap,
    time::{Duration, Instant},
};

use crossbeam::channel::Sender;

use super::{Loaded, Route, Worker, WorkerEvent};
use crate::{
    scheduler::times::StepTimes,
    stage::{Cut, Preparation},
};

/// How often the worker says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Layers for a placement that is yet to come.
pub(super) struct Preparing {
    epoch: u64,
    stage: Preparation,
    progress: Progress,
}

struct Progress {
    epoch: u64,
    events: Sender<WorkerEvent>,
    told: Cell<Instant>,
}

impl Progress {
    fn tell(&self, bytes_read: u64) {
        if self.told.get().elapsed() > PROGRESS_EVERY {
            self.told.set(Instant::now());
            let _ = self.events.try_send(WorkerEvent::Loading { epoch: self.epoch, bytes_read });
        }
    }
}

impl Worker {
    pub(super) fn load(&mut self, epoch: u64, cut: Cut, route: Route) {
        let prepared = self.preparing.as_ref();
        if prepared.is_some_and(|ready| ready.epoch == epoch && ready.stage.is_of(&cut)) {
            return self.switch(epoch, route);
        }
        match self.begin(epoch, cut) {
            Ok(preparing) => self.finish(preparing, route),
            Err(why) => {
                self.unload();
                self.report(WorkerEvent::Loaded { epoch, result: Err(why) });
            }
        }
    }

    pub(super) fn prepare(&mut self, epoch: u64, cut: Cut) {
        match self.begin(epoch, cut) {
            Ok(preparing) => {
                self.preparing = Some(preparing);
                self.tell_prepared();
            }
            Err(why) => self.report(WorkerEvent::Prepared { epoch, result: Err(why) }),
        }
    }

    pub(super) fn switch(&mut self, epoch: u64, route: Route) {
        match self.preparing.take_if(|preparing| preparing.epoch == epoch) {
            Some(preparing) => self.finish(preparing, route),
            None => {
                let why = format!("no layers were prepared for placement {epoch}");
                self.report(WorkerEvent::Loaded { epoch, result: Err(why) });
            }
        }
    }

    pub(super) fn prepare_no_more(&mut self) {
        if self.preparing.take().is_some() {
            free_buffers();
        }
    }

    pub(super) fn free_caches(&mut self, epoch: u64) {
        let Some(loaded) = &mut self.loaded else { return };
        if loaded.epoch.take_if(|own| *own <= epoch).is_none() {
            return;
        }
        loaded.open.clear();
        loaded.stage.close_all();
        free_buffers();
    }

    pub(super) fn unload(&mut self) {
        (self.loaded, self.preparing) = (None, None);
        free_buffers();
    }

    /// With what is here of that cut. A preparation that was is over.
    fn begin(&mut self, epoch: u64, cut: Cut) -> Result<Preparing, String> {
        let old = self.preparing.take();
        let mut stage = Preparation::new(cut).map_err(|error| error.to_string())?;
        if let Some(loaded) = &self.loaded {
            stage.share(&loaded.stage);
        }
        if let Some(old) = old {
            stage.inherit(old.stage);
            free_buffers();
        }
        let (events, told) = (self.events.clone(), Cell::new(Instant::now()));
        Ok(Preparing { epoch, stage, progress: Progress { epoch, events, told } })
    }

    /// Makes it the stage. What the one before had besides is freed before anything is read.
    fn finish(&mut self, preparing: Preparing, route: Route) {
        self.unload();
        let Preparing { epoch, stage, progress } = preparing;
        let stage = stage.finish(&|bytes| progress.tell(bytes)).map_err(|error| error.to_string());
        let result = stage.and_then(|stage| {
            if let Some(before) = &route.before {
                self.post_receives(before)?;
            }
            let bytes_read = stage.bytes_read();
            self.loaded = Some(Loaded {
                epoch: Some(epoch),
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

    /// Whether layers are to be read beside the stage that runs.
    pub(super) fn is_reading_ahead(&self) -> bool {
        self.preparing.as_ref().is_some_and(|preparing| !preparing.stage.is_complete())
    }

    /// Reads one layer that is being prepared, if one is missing.
    pub(super) fn read_ahead(&mut self) {
        let missing = self.preparing.as_mut().filter(|own| !own.stage.is_complete());
        let Some(Preparing { epoch, stage, progress }) = missing else { return };
        match stage.read_next(&|bytes| progress.tell(bytes)) {
            Ok(()) => self.tell_prepared(),
            Err(error) => {
                let (epoch, result) = (*epoch, Err(error.to_string()));
                self.preparing = None;
                free_buffers();
                self.report(WorkerEvent::Prepared { epoch, result });
            }
        }
    }

    /// Says so if nothing is missing any more.
    fn tell_prepared(&self) {
        if let Some(Preparing { epoch, stage, .. }) = &self.preparing
            && stage.is_complete()
        {
            let result = Ok(stage.bytes_read());
            self.report(WorkerEvent::Prepared { epoch: *epoch, result });
        }
    }
}

/// MLX keeps freed buffers for reuse: other layers have other sizes.
fn free_buffers() {
    let _ = mlx_rs::memory::clear_cache();
}
