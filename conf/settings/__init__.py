"""The one settings tree of storelake, and the only reader of the environment."""

from conf.settings.alerts import AlertSettings
from conf.settings.base import CONF_DIR, PLACEHOLDERS, SettingsError, is_loopback
from conf.settings.brokers import KafkaSettings, Principal, PulsarSettings
from conf.settings.cameras import InferenceSettings
from conf.settings.load import choose_profile, is_submitted, load_settings
from conf.settings.operation import (
    MaintenanceSettings,
    QualitySettings,
    RetentionSettings,
    SupervisorSettings,
)
from conf.settings.services import ConsoleSettings, GatewaySettings, HttpSettings, TrinoSettings
from conf.settings.spark import SparkSettings
from conf.settings.storage import CatalogSettings, PostgresSettings, S3Settings
from conf.settings.streams import StreamSettings
from conf.settings.tree import Settings

__all__ = [
    "CONF_DIR",
    "PLACEHOLDERS",
    "AlertSettings",
    "CatalogSettings",
    "ConsoleSettings",
    "GatewaySettings",
    "HttpSettings",
    "InferenceSettings",
    "KafkaSettings",
    "MaintenanceSettings",
    "PostgresSettings",
    "Principal",
    "PulsarSettings",
    "QualitySettings",
    "RetentionSettings",
    "S3Settings",
    "Settings",
    "SettingsError",
    "SparkSettings",
    "StreamSettings",
    "SupervisorSettings",
    "TrinoSettings",
    "choose_profile",
    "is_loopback",
    "is_submitted",
    "load_settings",
]
