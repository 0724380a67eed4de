"""The form of this service's dead letters; its readers rely on both names."""

from service_libs.kafka.dead_letter_format import DeadLetterFormat

LETTERS = DeadLetterFormat(service="batch_conductor_service", prefix="bcs_dlq-")
