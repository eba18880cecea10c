"""The audit: a module for each question, and the document that holds the answers."""

from spuriscope.auditing.document import Audit, audit, check_folder, write_audit
from spuriscope.auditing.plan import AuditPlan, plan_audit

__all__ = ["Audit", "AuditPlan", "audit", "check_folder", "plan_audit", "write_audit"]
