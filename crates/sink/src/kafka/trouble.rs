//! What goes wrong between a producer and its brokers: which of it passes by itself, and what it is called.

use rdkafka::types::RDKafkaErrorCode as Code;
use sockeye_pipeline::DropReason;

/// A kind of trouble. Each is counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No broker can be reached.
    Unreachable,
    /// No TLS session comes about.
    Tls,
    /// User or password are wrong.
    Authentication,
    /// The user may not write to the topic.
    NotAuthorised,
    /// There is no such topic.
    UnknownTopic,
    /// A message is longer than the topic takes.
    MessageTooLarge,
    /// No confirmation came in time.
    Timeout,
    /// The broker, or the client library, refused for another reason.
    Refused,
}

/// What to do about an error of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may work later, as soon as somebody has mended something.
    Retriable,
    /// It will never work with this message.
    Permanent,
}

impl Trouble {
    /// Every kind, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::Unreachable,
        Self::Tls,
        Self::Authentication,
        Self::NotAuthorised,
        Self::UnknownTopic,
        Self::MessageTooLarge,
        Self::Timeout,
        Self::Refused,
    ];

    /// The kind as a label.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Authentication => "authentication",
            Self::NotAuthorised => "not_authorised",
            Self::UnknownTopic => "unknown_topic",
            Self::MessageTooLarge => "message_too_large",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
        }
    }

    /// In one sentence.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Unreachable => "no broker can be reached; waiting for one",
            Self::Tls => "no TLS session: look at the certificates",
            Self::Authentication => "the broker does not accept user and password",
            Self::NotAuthorised => "the broker does not let this user write to the topic",
            Self::UnknownTopic => "there is no such topic; make it",
            Self::MessageTooLarge => "a message is longer than the topic takes",
            Self::Timeout => "no confirmation within --produce-timeout",
            Self::Refused => "refused",
        }
    }

    pub(crate) fn of(code: Code) -> Self {
        match code {
            Code::SSL => Self::Tls,
            Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState => Self::Authentication,
            Code::TopicAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed => Self::NotAuthorised,
            Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
                Self::UnknownTopic
            }
            Code::MessageSizeTooLarge | Code::InvalidMessageSize => Self::MessageTooLarge,
            Code::MessageTimedOut | Code::RequestTimedOut | Code::TimedOutQueue => Self::Timeout,
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::NetworkException => Self::Unreachable,
            _ => Self::Refused,
        }
    }

    /// The reason that rows are lost for.
    pub(crate) fn reason(self) -> DropReason {
        match self {
            Self::Unreachable | Self::Timeout => DropReason::Timeout,
            Self::Tls => DropReason::Tls,
            Self::Authentication => DropReason::Authentication,
            Self::NotAuthorised => DropReason::NotAuthorised,
            Self::UnknownTopic => DropReason::UnknownTopic,
            Self::MessageTooLarge => DropReason::MessageTooLarge,
            Self::Refused => DropReason::Rejected,
        }
    }
}

impl Verdict {
    /// The client library itself has tried again what can be, for as long as `--produce-timeout`.
    pub(crate) fn of(code: Code) -> Self {
        match code {
            // About the message itself.
            Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::InvalidMessage
            | Code::InvalidRecord
            | Code::BadMessage
            | Code::InvalidTimestamp
            | Code::InvalidArgument
            | Code::InvalidTopic => Self::Permanent,
            // About brokers, topics and rights, which somebody can mend, and about the producer, which is made anew.
            _ => Self::Retriable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_about_the_message_is_permanent_and_what_somebody_can_mend_is_not() {
        for (code, trouble, verdict, reason) in [
            (
                Code::MessageSizeTooLarge,
                "message_too_large",
                Verdict::Permanent,
                "message_too_large",
            ),
            (Code::InvalidRecord, "refused", Verdict::Permanent, "rejected"),
            (Code::UnknownTopic, "unknown_topic", Verdict::Retriable, "unknown_topic"),
            (
                Code::TopicAuthorizationFailed,
                "not_authorised",
                Verdict::Retriable,
                "not_authorised",
            ),
            (Code::Authentication, "authentication", Verdict::Retriable, "authentication"),
            (Code::SSL, "tls", Verdict::Retriable, "tls"),
            (Code::MessageTimedOut, "timeout", Verdict::Retriable, "timeout"),
            (Code::AllBrokersDown, "unreachable", Verdict::Retriable, "timeout"),
            (Code::NotEnoughReplicas, "refused", Verdict::Retriable, "rejected"),
        ] {
            let of = Trouble::of(code);
            assert_eq!(
                (of.name(), Verdict::of(code), of.reason().name()),
                (trouble, verdict, reason),
                "{code}"
            );
        }
    }

    #[test]
    fn every_trouble_has_its_counter() {
        for (index, trouble) in Trouble::ALL.into_iter().enumerate() {
            assert_eq!(trouble as usize, index);
        }
    }
}
