// Sums of each of C channels over POSITIONS pixels, rounded: (sum + half) >> DROP.
module average #(
    parameter POSITIONS = 1,
    parameter C = 1,
    parameter SUM = 8,
    parameter DROP = 0
) (
    input clock,
    input reset,
    input in_valid,
    output in_ready,
    input [7:0] in_data,
    output out_valid,
    input out_ready,
    output [SUM-DROP:0] out_data
);
    localparam A = C > 1 ? $clog2(C) : 1;
    localparam [SUM:0] HALF = DROP > 0 ? 1 << (DROP > 0 ? DROP - 1 : 0) : 0;
    (* no_rw_check *) reg [SUM-1:0] memory [0:C-1];
    reg [A-1:0] channel, channel_0, channel_1;
    reg [$clog2(POSITIONS+1)-1:0] position;
    reg valid_0, valid_1, begins_0, begins_1, ends_0, ends_1;
    reg [7:0] byte_0, byte_1;
    reg [SUM-1:0] kept_0, kept_1;
    wire moves = !out_valid || out_ready;
    // A sum is read again only after it has been written.
    wire rests = C < 3 && (valid_0 || valid_1);
    assign in_ready = moves && !rests;
    wire takes = in_valid && in_ready;
    wire [SUM-1:0] sum = (begins_1 ? {SUM{1'b0}} : kept_1) + byte_1;
    wire [SUM:0] rounded = ({1'b0, sum} + HALF) >> DROP;
    assign out_valid = valid_1 && ends_1;
    assign out_data = rounded[SUM-DROP:0];

    always @(posedge clock)
        if (moves) begin
            if (valid_1) memory[channel_1] <= sum;
            kept_0 <= memory[channel];
        end

    always @(posedge clock)
        if (reset) begin
            channel <= 0;
            position <= 0;
            valid_0 <= 0;
            valid_1 <= 0;
        end else if (moves) begin
            valid_0 <= takes;
            valid_1 <= valid_0;
            if (takes) begin
                channel <= channel == C - 1 ? 0 : channel + 1'b1;
                if (channel == C - 1) position <= position == POSITIONS - 1 ? 0 : position + 1'b1;
            end
        end

    always @(posedge clock)
        if (moves) begin
            {byte_1, channel_1, begins_1, ends_1} <= {byte_0, channel_0, begins_0, ends_0};
            {byte_0, channel_0, begins_0, ends_0} <= {in_data, channel, position == 0, position == POSITIONS - 1};
            kept_1 <= kept_0;
        end
endmodule
