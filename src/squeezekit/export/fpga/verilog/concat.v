// Two streams of A and of B channels become one of A + B.
module concat #(
    parameter A = 1,
    parameter B = 1
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
    reg [$clog2(A+B)-1:0] channel;
    reg second;
    assign out_valid = second ? b_valid : a_valid;
    assign out_data = second ? b_data : a_data;
    assign a_ready = !second && out_ready;
    assign b_ready = second && out_ready;

    always @(posedge clock)
        if (reset) begin
            channel <= 0;
            second <= 0;
        end else if (out_valid && out_ready) begin
            channel <= channel == A + B - 1 ? 0 : channel + 1'b1;
            if (channel == A - 1 || channel == A + B - 1) second <= !second;
        end
endmodule
