# SPDX-License-Identifier: Apache-2.0
"""What goes on, what needs a person, and why a task is not done."""
