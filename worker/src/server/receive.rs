//! Puts a streamed document together, and refuses what breaks a limit before more of it has arrived. Checks reports.

use liquid_proto::worker::v1::extract_request::Part;
use liquid_proto::worker::v1::{ExtractHeader, ExtractRequest, ReportRequest};
use sha2::{Digest, Sha256};
use tokio_stream::{Stream, StreamExt};
use tonic::Status;

use super::status::{invalid, job_status};
use crate::config::Limits;
use crate::runtime::Reservation;

/// A document that has arrived.
pub(super) struct ReceivedDocument {
    pub(super) document: String,
    pub(super) sha256: [u8; 32],
    pub(super) reservation: Reservation,
}

/// Receives the first message, which must be the header.
pub(super) async fn read_header<S>(stream: &mut S) -> Result<ExtractHeader, Status>
where
    S: Stream<Item = Result<ExtractRequest, Status>> + Unpin,
{
    let order = "must be the first message; send the header, then the document's chunks";
    match stream.next().await.transpose()?.and_then(|message| message.part) {
        Some(Part::Header(header)) => Ok(header),
        Some(Part::DocumentChunk(_)) | None => Err(invalid("header", order)),
    }
}

/// Checks the header before the document arrives.
pub(super) fn check_header(header: &ExtractHeader, limits: &Limits) -> Result<(), Status> {
    let question = header.question.len() as u64;
    if question > limits.max_question_bytes {
        let remedy = format!("has {question} bytes; send at most {}", limits.max_question_bytes);
        return Err(invalid("header.question", remedy));
    }
    check_asks(header, limits)?;
    check_count("header.texts", header.texts.len(), limits.max_texts)?;
    check_length("header.document_bytes", header.document_bytes, limits)?;
    if !matches!(header.document_sha256.len(), 0 | 32) {
        let remedy = format!(
            "has {} bytes; send the 32 bytes of a SHA-256, or none",
            header.document_sha256.len()
        );
        return Err(invalid("header.document_sha256", remedy));
    }
    let id = &header.request_id;
    if id.len() > 128 || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(invalid(
            "header.request_id",
            "send at most 128 visible ASCII characters",
        ));
    }
    Ok(())
}

/// Checks how many asks there are and how long they are together: what a request takes grows with both.
fn check_asks(header: &ExtractHeader, limits: &Limits) -> Result<(), Status> {
    check_count("header.asks", header.asks.len(), limits.max_asks)?;
    let together: u64 = header.asks.iter().map(|ask| ask.text.len() as u64).sum();
    if together > limits.max_question_bytes {
        let most = limits.max_question_bytes;
        let remedy = format!("have {together} bytes together; send at most {most}");
        return Err(invalid("header.asks", remedy));
    }
    Ok(())
}

fn check_count(field: &str, count: usize, most: u32) -> Result<(), Status> {
    if count > most as usize {
        return Err(invalid(field, format!("are {count}; send at most {most}")));
    }
    Ok(())
}

fn check_length(field: &str, bytes: u64, limits: &Limits) -> Result<(), Status> {
    if bytes > limits.max_document_bytes {
        let remedy = format!(
            "the document has {bytes} bytes or more; send at most {}",
            limits.max_document_bytes
        );
        return Err(invalid(field, remedy));
    }
    Ok(())
}

/// Receives the chunks after the header, up to the stream's end.
pub(super) async fn read_document<S>(
    stream: &mut S,
    header: &ExtractHeader,
    limits: &Limits,
    mut reservation: Reservation,
) -> Result<ReceivedDocument, Status>
where
    S: Stream<Item = Result<ExtractRequest, Status>> + Unpin,
{
    let reserve = |reservation: &mut Reservation, bytes: u64| {
        reservation
            .grow_to(bytes)
            .map_err(|error| job_status(&error, &header.request_id))
    };
    reserve(&mut reservation, header.document_bytes)?;
    let mut bytes: Vec<u8> = Vec::with_capacity(header.document_bytes as usize);
    let mut hash = Sha256::new();
    while let Some(message) = stream.next().await.transpose()? {
        let Some(Part::DocumentChunk(chunk)) = message.part else {
            return Err(invalid(
                "document_chunk",
                "must follow the header in every message; send one header only",
            ));
        };
        if chunk.len() as u64 > limits.max_chunk_bytes {
            let remedy = format!(
                "has {} bytes; send at most {}",
                chunk.len(),
                limits.max_chunk_bytes
            );
            return Err(invalid("document_chunk", remedy));
        }
        let length = (bytes.len() + chunk.len()) as u64;
        check_length("document_chunk", length, limits)?;
        reserve(&mut reservation, length)?;
        hash.update(&chunk);
        bytes.extend_from_slice(&chunk);
    }
    check_whole(bytes, hash.finalize().into(), header, reservation)
}

/// Checks what is only known at the end: length, sum, encoding.
fn check_whole(
    bytes: Vec<u8>,
    sha256: [u8; 32],
    header: &ExtractHeader,
    reservation: Reservation,
) -> Result<ReceivedDocument, Status> {
    if header.document_bytes != 0 && header.document_bytes != bytes.len() as u64 {
        let remedy = format!(
            "is {}, but {} bytes arrived; send the exact length, or 0",
            header.document_bytes,
            bytes.len()
        );
        return Err(invalid("header.document_bytes", remedy));
    }
    if !header.document_sha256.is_empty() && header.document_sha256 != sha256 {
        return Err(invalid(
            "header.document_sha256",
            "is not the sum of the bytes that arrived; send it again",
        ));
    }
    match String::from_utf8(bytes) {
        Ok(document) => Ok(ReceivedDocument {
            document,
            sha256,
            reservation,
        }),
        Err(error) => {
            let remedy = format!(
                "is not UTF-8 at byte {}; send text in UTF-8",
                error.utf8_error().valid_up_to()
            );
            Err(invalid("document_chunk", remedy))
        }
    }
}

/// The most that one report may add to a counter, so that a wrong one does not make it overflow.
const MOST_REPORTED: u64 = 1 << 48;

/// Checks what a sidecar reports about its calls.
pub(super) fn check_report(report: &ReportRequest) -> Result<(), Status> {
    for (field, value) in [
        ("calls", report.calls),
        ("tokens_before", report.tokens_before),
        ("tokens_after", report.tokens_after),
    ] {
        if value > MOST_REPORTED {
            let remedy = format!("is {value}; send at most {MOST_REPORTED}");
            return Err(invalid(field, remedy));
        }
    }
    Ok(())
}
