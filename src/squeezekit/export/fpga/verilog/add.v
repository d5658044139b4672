// Adds a bypass: a + ((b * GAIN + OFFSET) >> SHIFT) - BELOW, at least 0 and at most 255.
module add #(
    parameter GAIN = 1,
    parameter OFFSET = 0,
    parameter SHIFT = 0,
    parameter BELOW = 0,
    parameter LOGIC = 0
) (
    input clock,
    input reset,
    input a_valid,
    output a_ready,
    input [7:0] a_data,
    input b_valid,
    output b_ready,
    input [7:0] b_data,
    output out_valid,
    input out_ready,
    output [7:0] out_data
);
    localparam [16:0] FACTOR = GAIN;
    reg [2:0] valid;
    reg [7:0] a_0, b_0, a_1, sum;
    reg [31:0] scaled;
    wire [24:0] times;
    product #(.DATA(8), .BITS(17), .LOGIC(LOGIC)) times_gain (.value(b_0), .weight(FACTOR), .result(times));
    wire moves = !valid[2] || out_ready;
    wire both = a_valid && b_valid;
    assign a_ready = b_valid && moves;
    assign b_ready = a_valid && moves;
    wire [31:0] shifted = scaled >> SHIFT;
    wire [32:0] raised = shifted + a_1;
    wire [32:0] total = raised > BELOW ? raised - BELOW : 33'd0;
    assign out_valid = valid[2];
    assign out_data = sum;

    always @(posedge clock)
        if (reset) valid <= 0;
        else if (moves) valid <= {valid[1:0], both};

    always @(posedge clock)
        if (moves) begin
            a_0 <= a_data;
            b_0 <= b_data;
            a_1 <= a_0;
            scaled <= times + OFFSET;
            sum <= total > 255 ? 8'd255 : total[7:0];
        end
endmodule
