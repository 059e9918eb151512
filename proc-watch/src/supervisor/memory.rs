//! What a supervisor knows of the one before it, and leaves to the one after: its [`StateFile`], and who still runs.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use proc_reactor::PersistentId;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::supervisor::marker::Marker;
use crate::supervisor::record::{Record, Records, StateError, StateFile};

/// How long the last writing may take before all is told to be over all the same.
const PATIENCE: Duration = Duration::from_secs(2);

/// What there was of a service.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) record: Record,
    /// The one that was started first, if it is known.
    pub(crate) living: Vec<PersistentId>,
}

#[derive(Debug)]
pub(crate) struct Memory {
    file: Arc<StateFile>,
    records: Records,
    living: BTreeMap<String, Vec<PersistentId>>,
    /// What was given to the writer last.
    told: watch::Sender<Records>,
    writer: Option<JoinHandle<()>>,
}

impl Memory {
    /// Takes the file, and looks who still runs. Blocks for some 20 us for each process of the machine.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        let (file, records) = StateFile::open(path)?;
        let mut living = file.marker().find().map_err(StateError::Blind)?;
        for (name, record) in &records {
            for id in [record.main, record.leader].into_iter().flatten() {
                let known = living.entry(name.clone()).or_default();
                known.retain(|other| *other != id);
                if id.is_alive().map_err(StateError::Blind)? {
                    known.insert(0, id);
                }
            }
        }
        living.retain(|_, living| !living.is_empty());
        let told = watch::Sender::new(records.clone());
        Ok(Self { file: Arc::new(file), records, living, told, writer: None })
    }

    pub(crate) fn marker(&self) -> Marker {
        self.file.marker()
    }

    /// Begins to write what it is given, in the background: a slow disk holds up nobody. What goes wrong is told once, and again after it
    /// has worked.
    pub(crate) fn begin(&mut self, trouble: impl Fn(io::Error) + Send + 'static) {
        let (file, mut news) = (Arc::clone(&self.file), self.told.subscribe());
        self.writer = Some(tokio::spawn(async move {
            let mut is_troubled = false;
            // What changes meanwhile is written together.
            while news.changed().await.is_ok() {
                let (file, records) = (Arc::clone(&file), news.borrow_and_update().clone());
                let written = tokio::task::spawn_blocking(move || file.write(&records)).await;
                match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
                    Ok(()) => is_troubled = false,
                    Err(error) if !std::mem::replace(&mut is_troubled, true) => trouble(error),
                    Err(_) => {}
                }
            }
        }));
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// What there was of this service.
    pub(crate) fn take(&mut self, name: &str) -> Found {
        let record = self.records.remove(name).unwrap_or_default();
        Found { record, living: self.living.remove(name).unwrap_or_default() }
    }

    /// Who lives of services that nobody has asked for.
    pub(crate) fn strays(&mut self) -> BTreeMap<String, Vec<PersistentId>> {
        std::mem::take(&mut self.living)
    }

    pub(crate) fn remember(&self, records: Records) {
        self.told.send_if_modified(|told| {
            let is_new = *told != records;
            *told = records;
            is_new
        });
    }

    /// Nothing is left that anybody should know of. Waits until that is written.
    pub(crate) async fn forget_all(mut self) {
        self.remember(Records::new());
        let Self { told, writer, .. } = &mut self;
        // The writer ends when it has written the last.
        drop(std::mem::replace(told, watch::Sender::new(Records::new())));
        if let Some(writer) = writer.take() {
            // If it takes longer, the file tells of some who live no more.
            let _ = tokio::time::timeout(PATIENCE, writer).await;
        }
    }

    /// Where this service's socket is, so that it finds the next supervisor's there. The name of a service may be no name of a file.
    pub(crate) fn socket(&self, service: &str) -> (PathBuf, String) {
        let mut dir = self.path().to_owned().into_os_string();
        dir.push(".notify");
        // FNV-1a: the same in every build.
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = service.bytes().fold(0xcbf2_9ce4_8422_2325, step);
        (dir.into(), format!("{hash:016x}"))
    }
}
