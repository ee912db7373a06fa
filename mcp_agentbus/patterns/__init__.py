# SPDX-License-Identifier: Apache-2.0
"""What programs do by several tasks at once, or by none: gather answers, hear events, clear up."""
