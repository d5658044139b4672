// A convolution with ReLU: the words under its filters, times weights, rescaled to bytes.
module convolution #(
    parameter H = 3,
    parameter W = 3,
    parameter C = 1,
    parameter K = 3,
    parameter STRIDE = 1,
    parameter PAD = 1,
    parameter [C*8-1:0] BORDER = 0,
    parameter OUTPUTS = 1,
    parameter ROWS = 4,
    parameter FILTERS = 1,
    parameter LANES = 1,
    parameter BITS = 8,
    parameter SUM = 20,
    parameter TOTAL = 20,
    parameter GAIN = 16,
    parameter SHIFT = 13,
    parameter LOGIC = 0,
    parameter RESCALE_LOGIC = 0,
    parameter WEIGHTS = "",
    parameter TABLE = ""
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
    // Filters of one pixel see a picture as one column.
    localparam POINTS = K == 1 && STRIDE == 1 && PAD == 0;
    wire words_valid, words_ready, words_last, sums_valid, sums_ready;
    wire [LANES*8-1:0] words;
    wire signed [SUM-1:0] sums;

    window #(.H(POINTS ? H * W : H), .W(POINTS ? 1 : W), .C(C), .K(K), .STRIDE(STRIDE), .PAD(PAD), .LANES(LANES),
             .ROWS(ROWS), .REPEAT((OUTPUTS + FILTERS - 1) / FILTERS), .BORDER(BORDER)) under_filter (
        .clock(clock), .reset(reset), .in_valid(in_valid), .in_ready(in_ready), .in_data(in_data),
        .out_valid(words_valid), .out_ready(words_ready), .out_data(words), .out_last(words_last));
    multiply #(.LANES(LANES), .OUTPUTS(OUTPUTS), .FILTERS(FILTERS), .TAPS(K * K * C / LANES), .BITS(BITS), .SUM(SUM),
               .LOGIC(LOGIC), .FILE(WEIGHTS)) filters (
        .clock(clock), .reset(reset), .in_valid(words_valid), .in_ready(words_ready), .in_data(words), .in_last(words_last),
        .out_valid(sums_valid), .out_ready(sums_ready), .out_data(sums));
    rescale #(.OUTPUTS(OUTPUTS), .SUM(SUM), .TOTAL(TOTAL), .GAIN(GAIN), .SHIFT(SHIFT),
              .LOGIC(RESCALE_LOGIC), .FILE(TABLE)) to_bytes (
        .clock(clock), .reset(reset), .in_valid(sums_valid), .in_ready(sums_ready), .in_data(sums),
        .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data));
endmodule
