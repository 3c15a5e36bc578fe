//! What somebody takes away while others work with it.
//!
//! Whether and when is drawn when a thing is made (a lab: when it is first asked for); it is written down when it happens, if
//! the thing is still there then.

use uuid::Uuid;

use super::{Chance, Draw};
use crate::{World, arm, storage, world};

/// What is made is gone within this, in seconds: 3 hours.
const RESOURCE_WITHIN: f64 = 3.0 * 3600.0;
/// A lab is gone within this, in seconds: 6 hours.
const LAB_WITHIN: f64 = 6.0 * 3600.0;
/// The container of VHDs in a lab's storage account, as Microsoft's sample names it.
const VHD_CONTAINER: &str = "imagefactoryvhds";

/// What will be taken away.
#[derive(Clone, Debug)]
pub enum Loss {
    /// A lab VM with its disk.
    Machine {
        /// The lab's key.
        lab: String,
        /// In lower case.
        name: String,
        /// One life of this name.
        unique: Uuid,
    },
    /// A custom image.
    Image {
        /// The lab's key.
        lab: String,
        /// In lower case.
        name: String,
        /// One life of this name.
        unique: Uuid,
    },
    /// A VHD.
    Vhd {
        /// The blob's URL.
        url: String,
        /// The copy that made it.
        copy: Uuid,
        /// Its companion goes, too.
        with_companion: bool,
    },
    /// A lab with all that is in it.
    Lab {
        /// The lab's key.
        lab: String,
        /// Its storage account goes, too.
        with_account: bool,
    },
}

impl Loss {
    fn chance(&self) -> Chance {
        match self {
            Self::Machine { .. } => Chance::VmGone,
            Self::Image { .. } => Chance::ImageGone,
            Self::Vhd { .. } => Chance::VhdGone,
            Self::Lab { .. } => Chance::LabGone,
        }
    }
}

fn schedule(world: &mut World, mut draw: Draw, within: f64, loss: Loss) {
    let after = draw.seconds(0.0, within);
    world.schedule(after, world::Event::Chaos(loss));
}

/// A lab VM or a custom image was asked for: it may be gone some day.
pub(crate) fn consider_resource(world: &mut World, id: &str, loss: Loss) {
    if let Some(draw) = world.draw(loss.chance(), id) {
        schedule(world, draw, RESOURCE_WITHIN, loss);
    }
}

/// A copy ended well: if it made a VHD, that may be gone some day.
pub(crate) fn consider_vhd(world: &mut World, container: &str, url: &str, copy: Uuid) {
    if container == VHD_CONTAINER
        && url.to_ascii_lowercase().ends_with(".vhd")
        && let Some(mut draw) = world.draw(Chance::VhdGone, url)
    {
        let with_companion = draw.coin();
        let loss = Loss::Vhd { url: url.to_owned(), copy, with_companion };
        schedule(world, draw, RESOURCE_WITHIN, loss);
    }
}

/// A lab was asked for: the first time it is drawn whether it will be gone some day.
pub(crate) fn consider_lab(world: &mut World, lab: &str) {
    if !world.chances.takes(Chance::LabGone) || world.draws.labs.contains(lab) {
        return;
    }
    world.draws.labs.insert(lab.to_owned());
    if let Some(mut draw) = world.draw(Chance::LabGone, lab) {
        let with_account = draw.coin();
        schedule(world, draw, LAB_WITHIN, Loss::Lab { lab: lab.to_owned(), with_account });
    }
}

/// Takes it away, if it is still there and chances are still taken.
pub(crate) fn apply(world: &mut World, loss: Loss) {
    if world.chances.is_over(world.now()) {
        return;
    }
    let chance = loss.chance();
    let lost = match loss {
        Loss::Machine { lab, name, unique } => arm::lose_machine(world, &lab, &name, unique),
        Loss::Image { lab, name, unique } => arm::lose_image(world, &lab, &name, unique),
        Loss::Vhd { url, copy, with_companion } => {
            storage::lose_copied(world, &url, copy, with_companion).then_some(url)
        }
        Loss::Lab { lab, with_account } => lose_lab(world, &lab, with_account).then_some(lab),
    };
    if let Some(subject) = lost {
        world.write_down(chance, &subject);
    }
}

fn lose_lab(world: &mut World, lab: &str, with_account: bool) -> bool {
    let account = world.lab(lab).map(|lab| lab.storage_account().to_owned());
    let was_there = world.delete_lab(lab);
    if let Some(account) = account.filter(|_| with_account) {
        storage::delete_account(world, &account);
    }
    was_there
}
