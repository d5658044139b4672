// Max-pooling of a picture: along its rows, then along its columns.
module pool #(
    parameter H = 2,
    parameter W = 2,
    parameter C = 1,
    parameter SIZE = 2
) (
    input clock,
    input reset,
    input in_valid,
    output in_ready,
    input [7:0] in_data,
    output out_valid,
    input out_ready,
    output [7:0] out_data
);
    localparam OUT_W = W > SIZE ? (W - SIZE + 1) / 2 + 1 : 1;
    wire valid, ready;
    wire [7:0] data;
    pool_axis #(.N(W), .INNER(C), .SIZE(SIZE)) rows (
        .clock(clock), .reset(reset), .in_valid(in_valid), .in_ready(in_ready), .in_data(in_data),
        .out_valid(valid), .out_ready(ready), .out_data(data));
    pool_axis #(.N(H), .INNER(OUT_W * C), .SIZE(SIZE)) columns (
        .clock(clock), .reset(reset), .in_valid(valid), .in_ready(ready), .in_data(data),
        .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data));
endmodule
