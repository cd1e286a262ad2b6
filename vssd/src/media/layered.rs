//! An image on which another can be put while it is used: a snapshot.
//!
//! ```text
//!   before                 share          go_on_in
//!   image <-- writes       image          overlay <-- writes
//!   (locked as written)    (as read)         |
//!                                          image      stays as it is
//! ```

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use super::lock::{self, Locked};
use super::{Extent, Media, MediaInfo, Null, Parallel, Qcow2, Ram, Request, Sink, Submission};
use crate::{Ticket, VssdError};

/// An image that another can build on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseImage {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is a qcow2 image; a raw one else.
    pub is_qcow2: bool,
}

/// A medium in an image file.
pub trait InFile: Media {
    /// The image.
    fn base(&self) -> BaseImage;

    /// The file that has the lock on it.
    fn lock_fd(&self) -> BorrowedFd<'_>;
}

/// A medium of which a snapshot may be taken: what it holds stays as it is, and
/// what is written from then on goes elsewhere. Nothing may be pending at the
/// medium meanwhile; see [`crate::Controller::hold`].
pub trait Snapshot: Media {
    /// The image that the snapshot would be; none where there is none.
    fn base(&self) -> Option<BaseImage> {
        None
    }

    /// Lets others open the image to read it.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn share(&self) -> io::Result<()> {
        Ok(())
    }

    /// Takes back what [`Snapshot::share`] gave, as there is no snapshot after
    /// all.
    ///
    /// # Errors
    ///
    /// Where somebody who came in between relies on the image. The medium is
    /// written to all the same.
    fn unshare(&self) -> io::Result<()> {
        Ok(())
    }

    /// Goes on in `top`, which builds on the image. The old medium is handed
    /// back, to be dropped where that may take its time.
    fn go_on_in(&mut self, _top: Qcow2) -> Box<dyn Send> {
        Box::new(())
    }
}

/// Memory is gone with the process: there is nothing to keep.
impl Snapshot for Ram {}

/// It holds nothing.
impl Snapshot for Null {}

/// An image, or what was put on it since.
#[derive(Debug)]
pub struct Layered<M> {
    layer: Layer<M>,
}

#[derive(Debug)]
enum Layer<M> {
    /// The image that it was opened with.
    First(M),
    /// The newest overlay.
    Top(Box<Qcow2>),
}

impl<M> Layered<M> {
    /// The image as it is.
    pub const fn new(image: M) -> Self {
        Self {
            layer: Layer::First(image),
        }
    }
}

impl<M: InFile> Layered<M> {
    fn lock_fd(&self) -> BorrowedFd<'_> {
        match &self.layer {
            Layer::First(image) => image.lock_fd(),
            Layer::Top(image) => image.lock_fd(),
        }
    }
}

impl<M: InFile + Send + 'static> Snapshot for Layered<M> {
    fn base(&self) -> Option<BaseImage> {
        Some(match &self.layer {
            Layer::First(image) => image.base(),
            Layer::Top(image) => image.base(),
        })
    }

    fn share(&self) -> io::Result<()> {
        lock::share(self.lock_fd())
    }

    fn unshare(&self) -> io::Result<()> {
        match lock::unshare(self.lock_fd()) {
            Locked::Yes | Locked::Unsupported(_) => Ok(()),
            Locked::InUse => Err(io::Error::other("another process reads it by now")),
        }
    }

    fn go_on_in(&mut self, top: Qcow2) -> Box<dyn Send> {
        debug_assert_eq!(self.pending(), 0, "a medium is put away at rest");
        Box::new(std::mem::replace(
            &mut self.layer,
            Layer::Top(Box::new(top)),
        ))
    }
}

/// Further handles are of the layer as it is: they are dropped before another is
/// put on it.
impl<M: Parallel> Parallel for Layered<M> {
    fn another(&self) -> io::Result<Self> {
        let layer = match &self.layer {
            Layer::First(image) => Layer::First(image.another()?),
            Layer::Top(image) => Layer::Top(Box::new(image.another()?)),
        };
        Ok(Self { layer })
    }

    fn must_settle(&self) -> bool {
        match &self.layer {
            Layer::First(image) => image.must_settle(),
            Layer::Top(image) => image.must_settle(),
        }
    }
}

/// As the layer that is written to.
impl<M: Media> Media for Layered<M> {
    const FORESEES: bool = M::FORESEES;

    fn name(&self) -> &str {
        match &self.layer {
            Layer::First(image) => image.name(),
            Layer::Top(image) => image.name(),
        }
    }

    fn info(&self) -> MediaInfo {
        match &self.layer {
            Layer::First(image) => image.info(),
            Layer::Top(image) => image.info(),
        }
    }

    fn grow(&mut self, bytes: u64) -> Result<(), VssdError> {
        match &mut self.layer {
            Layer::First(image) => image.grow(bytes),
            Layer::Top(image) => image.grow(bytes),
        }
    }

    #[inline]
    fn submit(&mut self, ticket: Ticket, request: Request<'_>) -> Submission {
        match &mut self.layer {
            Layer::First(image) => image.submit(ticket, request),
            Layer::Top(image) => image.submit(ticket, request),
        }
    }

    #[inline]
    fn foresee(&self, extent: Extent, writes: bool) {
        match &self.layer {
            Layer::First(image) => image.foresee(extent, writes),
            Layer::Top(image) => image.foresee(extent, writes),
        }
    }

    #[inline]
    fn poll(&mut self, budget: u32, sink: Sink<'_>) -> u32 {
        match &mut self.layer {
            Layer::First(image) => image.poll(budget, sink),
            Layer::Top(image) => image.poll(budget, sink),
        }
    }

    #[inline]
    fn pending(&self) -> usize {
        match &self.layer {
            Layer::First(image) => image.pending(),
            Layer::Top(image) => image.pending(),
        }
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        match &self.layer {
            Layer::First(image) => image.wake(),
            Layer::Top(image) => image.wake(),
        }
    }

    fn let_go(&mut self, sink: Sink<'_>) {
        match &mut self.layer {
            Layer::First(image) => image.let_go(sink),
            Layer::Top(image) => image.let_go(sink),
        }
    }

    fn cancel(&mut self, wanted: &mut dyn FnMut(&Ticket) -> bool) -> Option<Ticket> {
        match &mut self.layer {
            Layer::First(image) => image.cancel(wanted),
            Layer::Top(image) => image.cancel(wanted),
        }
    }

    fn abandon(&mut self, sink: Sink<'_>) {
        match &mut self.layer {
            Layer::First(image) => image.abandon(sink),
            Layer::Top(image) => image.abandon(sink),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{Action, Tester};
    use super::super::{RawFile, RawFileOptions, Uring, image};
    use super::*;

    const MIB: u64 = 1 << 20;
    const MADE: RawFileOptions = RawFileOptions {
        create: Some(MIB),
        read_only: false,
    };
    const WRITTEN: RawFileOptions = RawFileOptions {
        create: None,
        read_only: false,
    };
    const READ: RawFileOptions = RawFileOptions {
        create: None,
        read_only: true,
    };

    /// Whether another process could open the image at `path`.
    fn opens(path: &std::path::Path, options: RawFileOptions) -> bool {
        image::Image::open(path, options).is_ok()
    }

    /// Takes snapshots of what `medium` holds until there are three layers, and
    /// holds all that is read against a model.
    fn layers<M: InFile + Send + 'static>(medium: M, dir: &std::path::Path) {
        let mut tester = Tester::new(Layered::new(medium));
        let mut below = Vec::new();
        for (round, fill) in [(0, 1), (1, 40), (2, 90)] {
            for at in 0..64 {
                tester.act(&Action::Write(at * 16 + round * 5, 9, false, false, fill));
            }
            tester.act(&Action::Discard(vec![(round * 100, 50)]));
            tester.act(&Action::Flush);
            tester.settle();
            let base = tester.media.base().unwrap();
            let top = dir.join(format!("{round}.qcow2"));
            Qcow2::create_on(&top, MIB, &base).unwrap();
            // Nobody gets in before it is shared, nor may anybody write later.
            Qcow2::open(&top, false, true).unwrap_err();
            tester.media.share().unwrap();
            let overlay = Qcow2::open(&top, false, true).unwrap();
            assert!(!opens(&base.path, WRITTEN));
            drop(tester.media.go_on_in(overlay));
            assert!(!opens(&base.path, WRITTEN));
            below.push((base.path.clone(), std::fs::read(&base.path).unwrap()));
            assert_eq!(tester.media.base().unwrap().path, top);
            tester.check_all();
        }
        for at in 0..100 {
            tester.act(&Action::Write(at * 20, 20, false, false, 7));
        }
        tester.settle();
        tester.check_all();
        for (path, then) in below {
            assert_eq!(std::fs::read(&path).unwrap(), then, "{}", path.display());
        }
    }

    #[test]
    fn what_is_written_after_a_snapshot_goes_into_the_overlay() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base.img");
        layers(RawFile::open(&base, MADE).unwrap(), dir.path());
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base.qcow2");
        Qcow2::create(&base, MIB).unwrap();
        layers(Qcow2::open(&base, false, false).unwrap(), dir.path());
    }

    #[test]
    fn a_snapshot_that_was_not_taken_leaves_the_image_locked() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base.img");
        let medium = Layered::new(Uring::open(&base, MADE).unwrap());
        assert!(!opens(&base, READ));
        medium.share().unwrap();
        assert!(opens(&base, READ) && !opens(&base, WRITTEN));
        medium.unshare().unwrap();
        assert!(!opens(&base, READ));
        // Somebody came in between, and relies on what he reads.
        medium.share().unwrap();
        let _reader = image::Image::open(&base, READ).unwrap();
        assert!(medium.unshare().is_err());
    }
}
