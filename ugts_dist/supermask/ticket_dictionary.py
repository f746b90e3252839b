"""The preset dictionary of a ticket's header: text that DEFLATE can refer to without storing it in the file.

It is part of format version 4 and never changes, since every file of that version needs it. A header is written whole,
so that it does not depend on the defaults of later versions; text that is in this dictionary takes almost no bytes.
Fields have the names that they had when the dictionary was written (`ugts_dist.config_names`). A better dictionary
would be a new format version.
"""

from __future__ import annotations

_VALUES = (
    '"shared":{},"fold":[["convs.1.lin.weight","convs.2.lin.weight","convs.3.lin.weight"]],"form":{"coats":2,'
    '"signed":true,"pruned":0.5,"locked":0.25}balanced,kaiming-normal,uniform","magnitude","cubic","cosine","medium",'
    '"bfloat16","residual","jumping","pairnorm","nodenorm","dropnode","dropedge","pyg-lib","torch-sparse","edge-popup",'
    '"no-global","no-gradual","layer","gin-paper","input","ogbn-products","ogbn-arxiv","ogbg-molhiv","ogbg-molbace",'
    '"coauthor-physics","amazon-computers","texas","digits","pubmed","citeseer","cora","size":1024,"fan_out":[15,10],'
    '"evaluate_every":4,"epochs":200,"depth":32,"width":448,"skip":"initial","alpha":0.2,"identity":0.2,'
    '"dropout_at":"input","dropout":0.5,"floor":0.3,"calibrate_at":0.5,"output_rms":0.03,"lr":0.003,'
    '"weight_decay":0.0001,"connections.input.weight":[[256,1433],"connections.output.weight":[['
    '"head.weight":[["convs.0.lin_l.weight":[["convs.0.lin_r.weight":[["convs.1.lin_l.weight":[['
    '"convs.1.lin_r.weight":[["convs.0.nn.0.weight":[["convs.0.nn.2.weight":[["convs.1.nn.0.weight":[['
    '"convs.1.nn.2.weight":[[{"seed":0,"weight_init":"kaiming-uniform","fingerprint":"","weights":{'
    '"convs.0.att_src":[[1,8,32],0,"0x1.p+0","0x1.p+1"],"convs.0.att_dst":[[1,8,32],0,"0x1.p+0","0x1.p+1"],'
    '"convs.1.att_src":[[1,1,7],0,"0x1.p+0","0x1p+0"],"convs.1.att_dst":[[1,1,7],0,"0x1.p+0","0x1p+0"],'
)
_HEADER = (
    '{"seed":0,"weight_init":"signed-constant","fingerprint":"","weights":{"convs.0.lin.weight":[[256,500],0,"0x1.p+7",'
    '"0x1.p+3"],"convs.1.lin.weight":[[7,256],0,"0x1.p-3","0x1p+0"]},"config":{"data":{"name":"digits","root":"",'
    '"split":0,"row_normalize":true,"standardize":false,"feature_noise":0.0,"edge_noise":0.0,"left_out":0.0},"model":{'
    '"arch":"gcn","depth":2,"width":256,"heads":1,"dropout":0.0,"dropout_at":"every","skip":"none","alpha":0.1,'
    '"identity":0.0,"norm":"none","graph_dropout":"none","graph_dropout_rate":0.2},"supermask":{"method":"ugts",'
    '"sparsity":0.9,"initial_sparsity":0.0,"scope":"auto","schedule":"auto","ramp":0.5,"seed":-1,"weight_init":'
    '"signed-constant","score_init":"kaiming-uniform","score_scale":1.0,"rescale":true,"ranking":"score","coats":1,'
    '"signed":false,"pruned":0.0,"locked":0.0,"fold":false,"floor":0.0,"input_sparsity":0.0,"calibrate":true,'
    '"calibrate_at":0.0,"output_rms":0.1,"attention_rms":0.01},"optim":{"lr":0.01,"weight_decay":0.0,"schedule":'
    '"constant","average":0.0,"precision":"float32","compress":false},"batch":{"size":0,"fan_out":[],"parts":1,'
    '"backend":"ours","placement":"auto","threads":-1,"norm":"full"},"run":{"seed":0,"epochs":400,"evaluate_every":1,'
    '"patience":0,"select":"after-ramp","folder":"","init_scores":"","spill":"","device":"auto","timeout":600.0},'
    '"checkpoint":{"every_minutes":5.0,"every_steps":0,"at_best":true,"keep_last":2},"log":{"progress":true,'
    '"every_seconds":30.0,"tensorboard":true}},"metrics":{"epoch":399,"valid":0.8,"test":0.8,"sparsity":0.9},'
    '"provenance":{"data":{"name":"","sha256":"","num_nodes":19717,"parts":{"features":"","labels":"","edges":"",'
    '"split":""}},"ugts_dist":"0.1.0","torch":"2.13.0+cpu"}}'
)
DICTIONARY = (_VALUES + _HEADER).encode()
