"""The algorithm: frozen random weights, trained scores, one exact threshold. Torch, numpy and safetensors only."""

from ugts_dist.supermask.bank import TicketBank as TicketBank
from ugts_dist.supermask.calibrate import calibrate as calibrate
from ugts_dist.supermask.masked import Supermask as Supermask
from ugts_dist.supermask.schedule import Schedule as Schedule
from ugts_dist.supermask.schedule import constant_schedule as constant_schedule
from ugts_dist.supermask.schedule import cubic_schedule as cubic_schedule
from ugts_dist.supermask.schedule import linear_schedule as linear_schedule
from ugts_dist.supermask.sparsify import sparsify as sparsify
from ugts_dist.supermask.targets import Targets as Targets
from ugts_dist.supermask.threshold import kth_smallest as kth_smallest
from ugts_dist.supermask.ticket import Ticket as Ticket
