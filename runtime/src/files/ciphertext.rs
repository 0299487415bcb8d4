//! Ciphertexts: the encrypted image from client to server, the encrypted answer back.

use std::path::Path;

use heddle_ckks::{Ciphertext, SeededCiphertext};
use heddle_ir::ckks::CiphertextType;
use heddle_ir::file::{Access, BlockReader, Existing, Kind};

use super::{Artifact, Reader, Writer, content, parse, stage};
use crate::Error;
use crate::message::{EncryptedAnswer, EncryptedImage, FreshCiphertext, mismatch};
use crate::protocol::Protocol;

/// What a ciphertext is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Role {
    /// An encrypted image.
    Image = 0,
    /// An encrypted answer.
    Answer = 1,
}

impl Role {
    /// The role in words, with its article.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Image => "an encrypted image",
            Self::Answer => "an encrypted answer",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::Image => "encrypt the image for this plan with `heddle encrypt`",
            Self::Answer => "give the encrypted answer that `heddle run` wrote",
        }
    }
}

/// The header of a ciphertext file. Level, slots and scale are those of the plan.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CiphertextHeader {
    /// What the ciphertext belongs to.
    #[prost(message, required, tag = "1")]
    pub artifact: Artifact,
    /// Whether it is an image or an answer.
    #[prost(enumeration = "Role", tag = "2")]
    pub role: i32,
    /// Whether the uniform part is stored as its seed.
    #[prost(bool, tag = "3")]
    pub seeded: bool,
}

/// Writes an encrypted image: its ciphertexts one after the other, each beginning a block. A seed
/// stands for the uniform part where the image has one.
///
/// # Errors
/// If the image does not have a ciphertext for every piece of the plan's input, some have a seed and
/// some have none, or the file cannot be written.
#[cfg(feature = "client")]
pub fn write_image(
    path: &Path,
    existing: Existing,
    protocol: &Protocol,
    image: &EncryptedImage,
) -> Result<(), Error> {
    let is_seeded = |ciphertext: &FreshCiphertext| matches!(ciphertext, FreshCiphertext::Seeded(_));
    let seeded = image.ciphertexts.iter().all(is_seeded);
    let (found, pieces) = (
        image.ciphertexts.len(),
        protocol.plan().input.ciphertexts.len(),
    );
    if found != pieces || (!seeded && image.ciphertexts.iter().any(is_seeded)) {
        return Err(Error::Input {
            what: "the image".into(),
            message: format!(
                "{pieces} ciphertexts of one kind are expected, found {found} or several kinds\nhelp: encrypt the \
                 image for this plan"
            ),
        });
    }
    let header = CiphertextHeader {
        artifact: Artifact::of(protocol, image.key),
        role: Role::Image.into(),
        seeded,
    };
    write(path, existing, &header, |out| {
        let mut body = Vec::new();
        for ciphertext in &image.ciphertexts {
            body.clear();
            match ciphertext {
                FreshCiphertext::Seeded(seeded) => seeded.write(protocol.context(), &mut body)?,
                FreshCiphertext::Whole(whole) => whole.write(protocol.context(), &mut body)?,
            }
            out.bytes(&body)?;
        }
        Ok(())
    })
}

/// Writes an encrypted answer.
///
/// # Errors
/// If the file cannot be written.
pub fn write_answer(
    path: &Path,
    existing: Existing,
    protocol: &Protocol,
    answer: &EncryptedAnswer,
) -> Result<(), Error> {
    let mut body = Vec::new();
    answer.ciphertext.write(protocol.context(), &mut body)?;
    let header = CiphertextHeader {
        artifact: Artifact::of(protocol, answer.key),
        role: Role::Answer.into(),
        seeded: false,
    };
    write(path, existing, &header, |out| Ok(out.bytes(&body)?))
}

fn write(
    path: &Path,
    existing: Existing,
    header: &CiphertextHeader,
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let how = (Access::Default, existing);
    let staged = stage(path, how, Kind::Ciphertext, header, body)?;
    Ok(staged.commit()?)
}

/// Reads an encrypted image for a plan, which says how many ciphertexts there are.
///
/// # Errors
/// If the file is no encrypted image, is damaged, or does not have the types of the plan's input.
pub fn read_image(path: &Path, protocol: &Protocol) -> Result<EncryptedImage, Error> {
    let mut opened = open(path, protocol, Role::Image)?;
    let inputs = &protocol.plan().input.ciphertexts;
    let mut ciphertexts = Vec::new();
    for ty in inputs {
        let ciphertext = match opened.seeded {
            true => {
                let len = SeededCiphertext::body_bytes(protocol.context(), ty.level)?;
                let body = opened.reader.bytes(len)?;
                FreshCiphertext::Seeded(parse(path, &body, |bytes| {
                    SeededCiphertext::read(protocol.context(), bytes)
                })?)
            }
            false => FreshCiphertext::Whole(opened.whole(path, protocol, ty)?),
        };
        check(path, Role::Image, &ciphertext.clone().expand(), ty)?;
        ciphertexts.push(ciphertext);
    }
    opened.reader.finish()?;
    Ok(EncryptedImage {
        key: opened.key,
        ciphertexts,
    })
}

/// Reads an encrypted answer of a plan.
///
/// # Errors
/// If the file is no encrypted answer, is damaged, or does not have the plan's output type.
pub fn read_answer(path: &Path, protocol: &Protocol) -> Result<EncryptedAnswer, Error> {
    let output = &protocol.plan().output.ciphertext;
    let mut opened = open(path, protocol, Role::Answer)?;
    if opened.seeded {
        let message = "is damaged: an answer has no seed";
        return Err(content(path, message, Role::Answer.help()));
    }
    let ciphertext = opened.whole(path, protocol, output)?;
    opened.reader.finish()?;
    check(path, Role::Answer, &ciphertext, output)?;
    Ok(EncryptedAnswer {
        key: opened.key,
        ciphertext,
    })
}

struct Opened {
    key: crate::protocol::KeyId,
    seeded: bool,
    reader: Reader,
}

impl Opened {
    /// The next ciphertext, whose uniform part is no seed; exactly as many bytes as one of the type
    /// has.
    fn whole(
        &mut self,
        path: &Path,
        protocol: &Protocol,
        ty: &CiphertextType,
    ) -> Result<Ciphertext, Error> {
        let len = Ciphertext::body_bytes(protocol.context(), ty.level)?;
        let body = self.reader.bytes(len)?;
        parse(path, &body, |bytes| {
            Ciphertext::read(protocol.context(), bytes)
        })
    }
}

/// Opens a file that must have the role.
fn open(path: &Path, protocol: &Protocol, role: Role) -> Result<Opened, Error> {
    let (reader, header) = BlockReader::open::<CiphertextHeader>(path, Kind::Ciphertext)?;
    let key = header.artifact.check(path, protocol, role.help())?;
    let found = Role::try_from(header.role)
        .map_err(|_| reader.damaged("what kind of ciphertext it is is unknown"))?;
    if found != role {
        let message = format!("is {}, expected {}", found.noun(), role.noun());
        return Err(content(path, message, role.help()));
    }
    Ok(Opened {
        key,
        seeded: header.seeded,
        reader,
    })
}

fn check(
    path: &Path,
    role: Role,
    ciphertext: &Ciphertext,
    ty: &CiphertextType,
) -> Result<(), Error> {
    match mismatch(ciphertext, ty) {
        None => Ok(()),
        Some(message) => Err(content(path, message, role.help())),
    }
}
