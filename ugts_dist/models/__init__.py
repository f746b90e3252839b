"""GNNs on PyG's layers, full-batch and sampled."""

from ugts_dist.models.aggregation import Incoming as Incoming
from ugts_dist.models.aggregation import Messages as Messages
from ugts_dist.models.aggregation import Summed as Summed
from ugts_dist.models.aggregation import aggregate as aggregate
from ugts_dist.models.block import Block as Block
from ugts_dist.models.convs import edges_of as edges_of
from ugts_dist.models.convs import prepare as prepare
from ugts_dist.models.dropout import Dropout as Dropout
from ugts_dist.models.first_layer import Aggregated as Aggregated
from ugts_dist.models.first_layer import Input as Input
from ugts_dist.models.first_layer import input_tensors as input_tensors
from ugts_dist.models.gnn import GNN as GNN
from ugts_dist.models.graph_dropout import GraphDropout as GraphDropout
from ugts_dist.models.hops import Hops as Hops
from ugts_dist.models.node_dropout import NodeDropout as NodeDropout
from ugts_dist.models.own import OwnNetwork as OwnNetwork
from ugts_dist.models.own import plain_module as plain_module
from ugts_dist.models.remedies import DeepGNNOptions as DeepGNNOptions
from ugts_dist.models.sparse import Features as Features
from ugts_dist.models.sparse import Rows as Rows
from ugts_dist.models.sparse import SparseFeatures as SparseFeatures
from ugts_dist.models.sparse import feature_tensors as feature_tensors
