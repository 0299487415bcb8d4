//! The client plan: what a client needs of a plan, and no more.
//!
//! A client makes keys, encrypts and decrypts. For that it needs the parameters, where the elements
//! of input and output lie, and what the evaluation keys follow from. It has no use for weights,
//! node names or the ranges of activations, which belong to whoever serves the model.
//!
//! To the client the file is hostile. What can be derived is derived: primes, security, the layouts
//! of key switching and the set of keys. What is left is checked field by field, see
//! `docs/security.md`.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;

use heddle_params::bootstrap::BootstrapParameters;
use heddle_params::keys::{self, KeyNeed, KeyUse};
use heddle_params::{Accept, Parameters, ParametersLiteral};
use prost::Message;
use sha2::{Digest, Sha256};

use super::checks::{self, accepted, check_packing, check_text};
use super::file::write_at;
use super::wire::{
    WireBootstrap, WireCiphertextType, WireInput, WireInputPiece, WireKeyNeed, WireOutputKind,
    WireParameters, WirePreprocess, WireSlotType, decode_output_kind,
};
use super::{InputPort, OutputKind};
use crate::ckks::{CiphertextType, Target};
use crate::error::Error;
use crate::file::{BlockReader, BlockWriter, Kind};
use crate::preprocess::Preprocess;
use crate::slot::SlotType;

/// The output of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Where the elements lie in the slots, and their range.
    pub packing: SlotType,
    /// The ciphertext that holds them.
    pub ciphertext: CiphertextType,
}

/// What a client needs of a compiled network.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientPlan {
    /// The model's name.
    pub name: String,
    /// The digest of the plan that this belongs to.
    pub plan_digest: [u8; 32],
    /// The ring and the primes.
    pub parameters: ParametersLiteral,
    /// Whether the parameters give less than 128 bits of security.
    pub insecure: bool,
    /// How ciphertexts are refreshed.
    pub bootstrap: BootstrapParameters,
    /// What the schedule's operations need keys for: the set of keys follows from it.
    pub needs: BTreeSet<KeyNeed>,
    /// The image.
    pub input: InputPort,
    /// The results.
    pub output: Port,
    /// What the results are.
    pub output_kind: OutputKind,
    /// From pixels to the image's elements.
    pub preprocess: Preprocess,
    /// The names of the classes in the order of the results; may be empty.
    pub labels: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "vec", tag = "2")]
    plan_digest: Vec<u8>,
    #[prost(message, required, tag = "3")]
    parameters: WireParameters,
    #[prost(bool, tag = "4")]
    insecure: bool,
    #[prost(message, required, tag = "5")]
    bootstrap: WireBootstrap,
    #[prost(message, repeated, tag = "6")]
    needs: Vec<WireKeyNeed>,
    #[prost(message, required, tag = "8")]
    output: WirePort,
    #[prost(enumeration = "WireOutputKind", tag = "9")]
    output_kind: i32,
    #[prost(message, required, tag = "10")]
    preprocess: WirePreprocess,
    #[prost(string, repeated, tag = "11")]
    labels: Vec<String>,
    #[prost(message, required, tag = "12")]
    input: WireInput,
    /// Not within the input, so that the number of fields bounds their number.
    #[prost(message, repeated, tag = "13")]
    pieces: Vec<WirePiece>,
}

#[derive(Clone, PartialEq, Message)]
struct WirePiece {
    #[prost(message, required, tag = "1")]
    packing: WireInputPiece,
    #[prost(message, required, tag = "2")]
    ciphertext: WireCiphertextType,
}

#[derive(Clone, PartialEq, Message)]
struct WirePort {
    #[prost(message, required, tag = "1")]
    packing: WireSlotType,
    #[prost(message, required, tag = "2")]
    ciphertext: WireCiphertextType,
}

impl From<&Port> for WirePort {
    fn from(port: &Port) -> Self {
        Self {
            packing: (&port.packing).into(),
            ciphertext: (&port.ciphertext).into(),
        }
    }
}

impl From<WirePort> for Port {
    fn from(wire: WirePort) -> Self {
        Self {
            packing: wire.packing.into(),
            ciphertext: wire.ciphertext.into(),
        }
    }
}

fn decode_input(wire: WireInput, wire_pieces: Vec<WirePiece>) -> InputPort {
    let (mut pieces, mut ciphertexts) = (Vec::new(), Vec::new());
    for piece in wire_pieces {
        pieces.push(piece.packing);
        ciphertexts.push(piece.ciphertext.into());
    }
    InputPort {
        packing: wire.with_pieces(pieces),
        ciphertexts,
    }
}

impl ClientPlan {
    /// The parameters with their primes; a set below 128 bits only where the plan says so.
    ///
    /// # Errors
    /// If the set is malformed, or weaker than it claims.
    pub fn checked_parameters(&self) -> Result<Parameters, Error> {
        checks::parameters(&self.parameters, self.insecure)
    }

    /// The evaluation keys that the schedule's operations call for, ascending and without
    /// repetition.
    ///
    /// # Errors
    /// If the parameters are refused or an operation does not fit them.
    pub fn required_keys(&self) -> Result<Vec<KeyUse>, Error> {
        let parameters = self.checked_parameters()?;
        let needs = self.needs.iter().copied();
        Ok(keys::required(&parameters, &self.bootstrap, needs)?)
    }

    /// SHA-256 of the client plan as a file, to which keys and ciphertexts are bound.
    ///
    /// # Errors
    /// If the header is longer than a file allows.
    pub fn digest(&self) -> Result<[u8; 32], Error> {
        let bytes = self.write(Vec::new(), "client plan")?;
        Ok(Sha256::digest(bytes).into())
    }

    /// Checks all that a client relies on.
    ///
    /// # Errors
    /// The first part that does not hold.
    pub fn check(&self) -> Result<(), Error> {
        let fail = |what: String| Err(Error::Inconsistent(what));
        let parameters = self.checked_parameters()?;
        checks::check_mark(&parameters, self.insecure)?;
        let names = [("name", &self.name)].into_iter();
        let texts = names.chain(self.labels.iter().map(|label| ("label", label)));
        for (what, text) in texts {
            check_text(what, text)?;
        }
        self.bootstrap.check(&parameters)?;
        keys::required(&parameters, &self.bootstrap, self.needs.iter().copied())?;
        let target = Target {
            parameters: &parameters,
            bootstrap: &self.bootstrap,
        };
        let input = &self.input;
        let checked = (input.ciphertexts.iter())
            .try_for_each(|ciphertext| target.check_type(ciphertext))
            .and_then(|()| input.check());
        if let Err(message) = checked {
            return fail(format!("input: {message}"));
        }
        let Port {
            packing,
            ciphertext,
        } = &self.output;
        let checked = check_packing(packing)
            .and_then(|()| target.check_type(ciphertext))
            .and_then(|()| match ciphertext.slots() >= packing.layout.period() {
                true => Ok(()),
                false => Err(format!("{ciphertext} does not hold {packing}")),
            });
        if let Err(message) = checked {
            return fail(format!("output: {message}"));
        }
        let ends = (input, &self.output);
        checks::check_ends(&parameters, ends, &self.preprocess, &self.labels)
    }

    /// Writes the client plan as a file's bytes; `file` names it in errors.
    ///
    /// # Errors
    /// If writing fails or the header is longer than a file allows.
    pub fn write<W: Write>(&self, writer: W, file: &str) -> Result<W, Error> {
        let header = Header {
            name: self.name.clone(),
            plan_digest: self.plan_digest.to_vec(),
            parameters: (&self.parameters).into(),
            insecure: self.insecure,
            bootstrap: (&self.bootstrap).into(),
            needs: self.needs.iter().map(Into::into).collect(),
            input: (&self.input.packing).into(),
            pieces: self.wire_pieces(),
            output: (&self.output).into(),
            output_kind: WireOutputKind::from(self.output_kind).into(),
            preprocess: (&self.preprocess).into(),
            labels: self.labels.clone(),
        };
        BlockWriter::new(writer, file, Kind::ClientPlan, &header)?.finish()
    }

    fn wire_pieces(&self) -> Vec<WirePiece> {
        let InputPort {
            packing,
            ciphertexts,
        } = &self.input;
        let pieces = packing.pieces.iter().zip(ciphertexts);
        pieces
            .map(|(piece, ciphertext)| WirePiece {
                packing: piece.into(),
                ciphertext: ciphertext.into(),
            })
            .collect()
    }

    /// Writes the client plan to `path`, whole or not at all.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_file(&self, path: &Path) -> Result<(), Error> {
        write_at(path, |writer, file| self.write(writer, file).map(drop))
    }

    /// Reads and checks a client plan; `file` names it in errors.
    ///
    /// # Errors
    /// [`Error::File`] if it is not a client plan, is damaged or does not hold together;
    /// [`Error::Refused`] if its parameters are weaker than what is accepted; [`Error::Io`] if
    /// reading fails.
    pub fn read<R: Read>(reader: R, file: &str, accept: Accept) -> Result<Self, Error> {
        Self::decode(BlockReader::new(reader, file, Kind::ClientPlan)?, accept)
    }

    /// Reads and checks the client plan at `path`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_file(path: &Path, accept: Accept) -> Result<Self, Error> {
        Self::decode(BlockReader::open(path, Kind::ClientPlan)?, accept)
    }

    fn decode<R: Read>(
        (mut reader, header): (BlockReader<R>, Header),
        accept: Accept,
    ) -> Result<Self, Error> {
        let parameters = accepted(header.parameters, &reader, accept)?;
        let plan_digest = (header.plan_digest.try_into())
            .map_err(|_| reader.damaged("its plan's digest is not 32 bytes"))?;
        let needs: BTreeSet<KeyNeed> = (header.needs.iter())
            .map(WireKeyNeed::decode)
            .collect::<Option<_>>()
            .ok_or_else(|| reader.damaged("a need for keys is of an unknown kind"))?;
        let sorted = needs.iter().map(WireKeyNeed::from);
        if !sorted.eq(header.needs.iter().cloned()) {
            return Err(reader.damaged("the needs for keys are not in ascending order"));
        }
        let output_kind = decode_output_kind(header.output_kind, &reader)?;
        let preprocess = header.preprocess.decode(&reader)?;
        let plan = Self {
            name: header.name,
            plan_digest,
            parameters,
            insecure: header.insecure,
            bootstrap: header.bootstrap.into(),
            needs,
            input: decode_input(header.input, header.pieces),
            output: header.output.into(),
            output_kind,
            preprocess,
            labels: header.labels,
        };
        plan.check()
            .map_err(|error| reader.damaged(&error.to_string()))?;
        reader.finish_ref()?;
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{any, plan};
    use super::*;
    use heddle_params::bootstrap::BootstrapVariant;

    fn client() -> ClientPlan {
        plan().client_plan().unwrap()
    }

    fn written(client: &ClientPlan) -> Vec<u8> {
        client.write(Vec::new(), "c").unwrap()
    }

    fn reread(client: &ClientPlan) -> Result<ClientPlan, Error> {
        ClientPlan::read(&*written(client), "c.plan", any())
    }

    #[test]
    fn round_trips_and_calls_for_the_keys_of_the_plan() {
        let (plan, client) = (plan(), client());
        assert_eq!(reread(&client).unwrap(), client);
        assert_eq!(client.plan_digest, plan.digest().unwrap());
        assert_eq!(
            client.required_keys().unwrap(),
            plan.required_keys().unwrap()
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.client.plan");
        client.write_file(&path).unwrap();
        assert_eq!(ClientPlan::read_file(&path, any()).unwrap(), client);
        let digest: [u8; 32] = Sha256::digest(std::fs::read(&path).unwrap()).into();
        assert_eq!(client.digest().unwrap(), digest);
    }

    #[test]
    fn a_client_plan_holds_no_weights_names_or_inner_ranges() {
        let plan = plan();
        let bytes = written(&client());
        let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        let graph = &plan.schedule.graph;
        for value in graph.values() {
            let name = &graph.node(value).name;
            assert!(name.len() < 3 || !holds(name.as_bytes()), "{name}");
        }
        for (_, tensor) in plan.weights.iter() {
            assert!(!holds(tensor.name.as_bytes()), "{}", tensor.name);
            let data: Vec<u8> = tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect();
            assert!(
                data.chunks_exact(8).all(|part| !holds(part)),
                "{}",
                tensor.name
            );
        }
        for range in &plan.ranges {
            assert!(!holds(range.name.as_bytes()) && !holds(&range.bound.to_le_bytes()));
        }
        assert!(!holds(&plan.model_digest) && !holds(plan.notes[0].as_bytes()));
        assert!(holds(b"frog") && holds(&plan.output.range.to_le_bytes()));
    }

    /// Whatever a client plan says is derived or checked.
    #[test]
    fn what_does_not_hold_is_refused() {
        let refused = |edit: fn(&mut ClientPlan), expected: &str| {
            let mut client = client();
            edit(&mut client);
            let message = reread(&client).unwrap_err().to_string();
            assert!(message.starts_with("`c.plan`"), "{message}");
            assert!(message.contains(expected), "{message}");
            assert!(message.contains("help: "), "{message}");
        };
        refused(|c| c.insecure = false, "128 are needed");
        refused(|c| c.name = "a\u{1b}[2J".into(), "the name `a\\u{1b}[2J`");
        refused(|c| c.labels[2] = "x\ny".into(), "the label `x\\u{a}y`");
        refused(|c| c.labels.truncate(2), "2 labels for 3 classes");
        refused(|c| c.preprocess.std[0] = -1.0, "preprocessing: ");
        refused(|c| c.bootstrap.k = 1, "`k` is 1");
        refused(|c| c.input.packing.range = f64::NAN, "input: range NaN");
        refused(|c| c.output.packing.range = 1e300, "output: the range");
        refused(
            |c| c.input.ciphertexts[0].level = 99,
            "input: level 99 is above 28",
        );
        refused(
            |c| c.input.ciphertexts[0].log_slots = 3,
            "input: ct<slots=2^3",
        );
        refused(
            |c| c.output.ciphertext.log_scale = 1e6,
            "output: scale 2^1000000",
        );
        refused(|c| c.output.ciphertext.log_slots = 60, "output: ");
        refused(|c| c.input.ciphertexts[0].log_scale = 3.0, "input: ct<");
        // With a scale near the modulus every ciphertext would be in range.
        refused(
            |c| {
                c.output.ciphertext = CiphertextType {
                    level: 0,
                    log_scale: 49.0,
                    ..c.output.ciphertext
                }
            },
            "too little room to tell an answer",
        );
        let need = |need: KeyNeed| {
            let mut client = client();
            client.needs.insert(need);
            reread(&client)
        };
        let variant = BootstrapVariant::Complex;
        for hostile in [
            KeyNeed::Rotation { by: 0, level: 1 },
            KeyNeed::Rotation { by: 512, level: 1 },
            KeyNeed::Rotation { by: 1, level: 29 },
            KeyNeed::Rotation {
                by: 1 << 40,
                level: 1 << 40,
            },
            KeyNeed::Product { level: 29 },
            KeyNeed::Bootstrap {
                log_slots: 10,
                variant,
            },
        ] {
            assert!(need(hostile).is_err(), "{hostile:?}");
        }
        assert!(need(KeyNeed::Rotation { by: 511, level: 28 }).is_ok());
    }

    #[test]
    fn parameters_below_128_bits_need_the_token() {
        let bytes = written(&client());
        let refused = ClientPlan::read(&*bytes, "c.plan", Accept::Secure).unwrap_err();
        assert!(matches!(refused, Error::Refused { .. }), "{refused}");
        let text = refused.to_string();
        for part in [
            "`c.plan`",
            "bits of security",
            "128 are needed",
            "--insecure",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn damage_is_an_error() {
        let whole = written(&client());
        for len in 0..whole.len() {
            assert!(ClientPlan::read(&whole[..len], "c", any()).is_err());
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x41;
            assert!(ClientPlan::read(&*damaged, "c", any()).is_err(), "{at}");
        }
    }
}
