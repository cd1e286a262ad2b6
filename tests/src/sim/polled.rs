//! A driver at its barest: an admin queue, one pair of I/O queues, polled.
//!
//! Where [`driver::Controller`] does what our host does, this one does what a
//! test says, register by register and entry by entry.

use anyhow::{Context, Result, ensure};
use driver::DmaBuffer;
use driver::transport::Transport;
use nvme::{
    AdminOpcode, Aqa, Cc, Cqe, CreateCqCdw11, CreateQueueCdw10, CreateSqCdw11, Csts, NamespaceId,
    Registers, SQE_BYTES, Sqe, Status, offset,
};

use super::{Device, InProcess, SimClock};

/// Entries of a queue.
const ENTRIES: u16 = 8;
/// How long anything may take, in steps of [`STEP_NS`].
const STEPS: u32 = 10_000;
const STEP_NS: u64 = 10_000;

struct Pair {
    id: u32,
    submissions: DmaBuffer,
    completions: DmaBuffer,
    tail: u16,
    head: u16,
    phase: bool,
}

/// The driver.
pub struct Polled {
    /// Its path to the device.
    pub path: InProcess,
    /// The data of whatever command runs: a page.
    pub data: DmaBuffer,
    clock: SimClock,
    pairs: Vec<Pair>,
    command_id: u16,
}

impl std::fmt::Debug for Polled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Polled").finish_non_exhaustive()
    }
}

impl Polled {
    /// A driver that has not touched the device yet.
    ///
    /// # Errors
    ///
    /// Where there is no memory for it.
    pub fn attach(device: &Device) -> Result<Self> {
        let mut path = device.attach()?;
        let data = path.allocate_dma(4096)?;
        let mut it = Self {
            path,
            data,
            clock: device.clock(),
            pairs: Vec::new(),
            command_id: 0,
        };
        it.add_pair()?;
        it.add_pair()?;
        Ok(it)
    }

    /// Memory for one more pair of I/O queues than the one that is there.
    ///
    /// # Errors
    ///
    /// Where there is none.
    pub fn add_pair(&mut self) -> Result<()> {
        let id = u32::try_from(self.pairs.len())?;
        self.pairs.push(Pair {
            id,
            submissions: self.path.allocate_dma(4096)?,
            completions: self.path.allocate_dma(4096)?,
            tail: 0,
            head: 0,
            phase: true,
        });
        Ok(())
    }

    /// Where the submissions and the completions of `queue` stand.
    #[must_use]
    pub fn bases(&self, queue: usize) -> (u64, u64) {
        let pair = &self.pairs[queue];
        (pair.submissions.iova(), pair.completions.iova())
    }

    /// Disables the controller, gives it the admin queue and enables it.
    ///
    /// # Errors
    ///
    /// Where it does not become ready.
    pub fn enable(&mut self) -> Result<()> {
        self.disable()?;
        self.prepare()?;
        // In pieces: the entry sizes first, then the enabling.
        let cc = Cc::new().with_iosqes(6).with_iocqes(4);
        self.path.write32(offset::CC, cc.into_bits());
        self.path.write32(offset::CC, cc.with_en(true).into_bits());
        self.wait("ready", |csts| csts.rdy())
    }

    /// Disables the controller.
    ///
    /// # Errors
    ///
    /// Where it stays ready.
    pub fn disable(&mut self) -> Result<()> {
        self.path.write32(offset::CC, 0);
        self.wait("not ready", |csts| !csts.rdy())
    }

    /// Empties the queues, and tells the controller of the admin queue.
    ///
    /// # Errors
    ///
    /// Where the queues cannot be written.
    pub fn prepare(&mut self) -> Result<()> {
        for pair in &mut self.pairs {
            pair.completions.fill(0, 4096, 0)?;
            (pair.tail, pair.head, pair.phase) = (0, 0, true);
        }
        let (asq, acq) = self.bases(0);
        let aqa = Aqa::new().with_asqs(ENTRIES - 1).with_acqs(ENTRIES - 1);
        self.path.write32(offset::AQA, aqa.into_bits());
        self.path.write64(offset::ASQ, asq);
        self.path.write64(offset::ACQ, acq);
        Ok(())
    }

    /// Lets a step of time pass.
    pub fn pause(&mut self) {
        self.clock.advance(STEP_NS);
    }

    /// Creates the completion queue of pair `queue`, without interrupts.
    ///
    /// # Errors
    ///
    /// Where the controller does not.
    pub fn create_cq(&mut self, queue: u16) -> Result<()> {
        let (_, base) = self.bases(queue.into());
        let cdw11 = CreateCqCdw11::new().with_pc(true);
        self.create(AdminOpcode::CREATE_CQ, queue, base, cdw11.into_bits())
    }

    /// Creates the submission queue of pair `queue`.
    ///
    /// # Errors
    ///
    /// Where the controller does not.
    pub fn create_sq(&mut self, queue: u16) -> Result<()> {
        let (base, _) = self.bases(queue.into());
        let cdw11 = CreateSqCdw11::new().with_pc(true).with_cqid(queue);
        self.create(AdminOpcode::CREATE_SQ, queue, base, cdw11.into_bits())
    }

    /// Creates the queues of pair `queue`.
    ///
    /// # Errors
    ///
    /// Where the controller does not.
    pub fn create_queues(&mut self, queue: u16) -> Result<()> {
        self.create_cq(queue)?;
        self.create_sq(queue)
    }

    fn create(&mut self, opcode: AdminOpcode, queue: u16, base: u64, cdw11: u32) -> Result<()> {
        let mut sqe = Sqe::new(opcode.0, NamespaceId(0));
        let cdw10 = CreateQueueCdw10::new()
            .with_qid(queue)
            .with_qsize(ENTRIES - 1);
        sqe.prp1.set(base);
        sqe.cdw10.set(cdw10.into_bits());
        sqe.cdw11.set(cdw11);
        self.submit(0, sqe)?;
        let cqe = self.reap(0, STEPS)?.context("no completion")?;
        let status = cqe.status();
        ensure!(status == Status::SUCCESS, "queue {queue}: {status}");
        Ok(())
    }

    /// Polls the status until `done`.
    ///
    /// # Errors
    ///
    /// Where it never is.
    pub fn wait(&mut self, what: &str, done: impl Fn(Csts) -> bool) -> Result<()> {
        for _ in 0..STEPS {
            let csts = Csts::from_bits(self.path.read32(offset::CSTS));
            ensure!(!csts.cfs(), "the controller has failed");
            if done(csts) {
                return Ok(());
            }
            self.clock.advance(STEP_NS);
        }
        anyhow::bail!("the controller does not become {what}")
    }

    /// Puts `sqe` into `queue` and rings; its identifier.
    ///
    /// # Errors
    ///
    /// Where the entry cannot be written.
    pub fn submit(&mut self, queue: usize, mut sqe: Sqe) -> Result<u16> {
        self.command_id = self.command_id.wrapping_add(1);
        sqe.command_id.set(self.command_id);
        let pair = &mut self.pairs[queue];
        let at = usize::from(pair.tail) * SQE_BYTES;
        pair.submissions.put(at, &sqe)?;
        pair.tail = (pair.tail + 1) % ENTRIES;
        let (doorbell, tail) = (nvme::DOORBELL_BASE + 8 * pair.id, pair.tail);
        self.path.write32(doorbell, u32::from(tail));
        Ok(self.command_id)
    }

    /// The next completion of `queue`, if it comes within `steps`.
    ///
    /// # Errors
    ///
    /// Where the queue cannot be read.
    pub fn reap(&mut self, queue: usize, steps: u32) -> Result<Option<Cqe>> {
        for _ in 0..steps {
            let pair = &mut self.pairs[queue];
            let cqe: Cqe = pair
                .completions
                .get(usize::from(pair.head) * size_of::<Cqe>())?;
            if cqe.phase() == pair.phase {
                pair.head = (pair.head + 1) % ENTRIES;
                pair.phase ^= pair.head == 0;
                let (doorbell, head) = (nvme::DOORBELL_BASE + 8 * pair.id + 4, pair.head);
                self.path.write32(doorbell, u32::from(head));
                return Ok(Some(cqe));
            }
            self.clock.advance(STEP_NS);
        }
        Ok(None)
    }

    /// Executes `sqe`, whose data is [`Polled::data`].
    ///
    /// # Errors
    ///
    /// Where no completion comes, or that of another command.
    pub fn execute(&mut self, queue: usize, mut sqe: Sqe) -> Result<Cqe> {
        sqe.prp1.set(self.data.iova());
        let id = self.submit(queue, sqe)?;
        let cqe = self.reap(queue, STEPS)?.context("no completion")?;
        ensure!(cqe.cid().0 == id, "the completion of another command");
        Ok(cqe)
    }
}
