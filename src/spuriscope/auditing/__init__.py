"""The audit: one module per question, and the document that holds the answers."""

from spuriscope.auditing.course import AuditProgress, OnAudit
from spuriscope.auditing.document import Audit, audit, check_folder, load_audit, write_audit
from spuriscope.auditing.finished import audit_model
from spuriscope.auditing.plan import AuditPlan, plan_audit

__all__ = [
    "Audit",
    "AuditPlan",
    "AuditProgress",
    "OnAudit",
    "audit",
    "audit_model",
    "check_folder",
    "load_audit",
    "plan_audit",
    "write_audit",
]
