# SPDX-License-Identifier: Apache-2.0
"""What each command that is typed loads: little, and nothing that Python has not loaded itself."""
